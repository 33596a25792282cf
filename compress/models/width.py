"""Networks made wider or narrower: where each library keeps its width multiplier."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn

from compress.models.names import Resolved
from runtime.errors import RecipeError

# Tensor cores, SIMD blocks and every mobile paper want widths that 8 divides.
_MULTIPLE: Final = 8

SUPPORTED: Final = (
    "LeNet-5 and the CIFAR ResNets; timm's resnet, resnext, wide_resnet, seresnet, "
    "resnetv2, convnext, mobilenetv1 to v4, efficientnet_b0 to b7, efficientnet lite "
    "and efficientnetv2_s; torchvision's mobilenet_v2, mobilenet_v3 and shufflenet_v2"
)


@dataclass(frozen=True)
class _Generator:
    """A timm generator with the multipliers its published variant has."""

    module: str
    function: str
    channels: float = 1.0
    depth: float | None = 1.0  # None: the generator has no depth multiplier


# timm's public functions fix the multiplier; its generators take it. The multipliers
# are those of Tan & Le 2019 (B0..B7 and Lite) and 1 for everybody else.
_SCALES: Final = {
    "0": (1.0, 1.0),
    "1": (1.0, 1.1),
    "2": (1.1, 1.2),
    "3": (1.2, 1.4),
    "4": (1.4, 1.8),
    "5": (1.6, 2.2),
    "6": (1.8, 2.6),
    "7": (2.0, 3.1),
}


def widened(resolved: Resolved, *, classes: int, width: float) -> nn.Module:
    """The network with `width` times its channels, rounded to multiples of 8.

    Raises RecipeError where the family has no such multiplier.
    """
    net = (
        _timm(resolved.name.split(".", 1)[0], classes, width)
        if resolved.source == "timm"
        else _torchvision(resolved.name, classes, width)
    )
    if net is None:
        raise RecipeError(
            f"width: {resolved.name} has no width multiplier; these have one: "
            f"{SUPPORTED}; choose one of them or leave the width at 1"
        )
    return net


def _timm(name: str, classes: int, width: float) -> nn.Module | None:
    """From timm's generators, or from the public argument that sets the channels."""
    from compress.context.vision import timm

    generator = _generator(name)
    if generator is not None:
        build = getattr(getattr(timm.models, generator.module), generator.function)
        options: dict[str, object] = {"channel_multiplier": width * generator.channels}
        if generator.depth is not None:
            options["depth_multiplier"] = generator.depth
        if name.startswith("tf_"):
            # As timm's own tf_ variants: TensorFlow's padding and epsilon.
            options |= {"pad_type": "same", "bn_eps": 1e-3}
        net: nn.Module = build(name, num_classes=classes, **options)
        return net
    arguments: dict[str, object]
    if re.match(r"(wide_)?(se)?resne(t|xt)\d+(_\d+x\d+d|_2)?$", name):
        arguments = {"channels": _scaled((64, 128, 256, 512), width)}
    elif re.match(r"resnetv2_(18|34)$", name):
        arguments = {
            "channels": _scaled((64, 128, 256, 512), width),
            "stem_chs": _scaled((64,), width)[0],
        }
    elif re.match(r"resnetv2_(50|101|152)$", name):
        arguments = {
            "channels": _scaled((256, 512, 1024, 2048), width),
            "stem_chs": _scaled((64,), width)[0],
        }
    elif re.match(r"convnext_(tiny|small)$", name):
        arguments = {"dims": _scaled((96, 192, 384, 768), width)}
    else:
        return None
    widened: nn.Module = timm.create_model(name, num_classes=classes, **arguments)
    return widened


def _generator(name: str) -> _Generator | None:
    """Which generator of timm makes `name`, and with which multipliers."""
    if found := re.match(r"mobilenetv([123])_(?:large_|small_)?(\d{3})$", name):
        version, percent = found.groups()
        module = "mobilenetv3" if version == "3" else "efficientnet"
        function = f"_gen_mobilenet_v{version}"
        return _Generator(module, function, int(percent) / 100)
    if re.match(r"mobilenetv4_(conv|hybrid)_(small|medium|large)$", name):
        return _Generator("mobilenetv3", "_gen_mobilenet_v4", depth=None)
    if found := re.match(r"(?:tf_)?efficientnet_(b|lite)([0-7])$", name):
        kind, number = found.groups()
        function = "_gen_efficientnet" if kind == "b" else "_gen_efficientnet_lite"
        return _Generator("efficientnet", function, *_SCALES[number])
    if re.match(r"(tf_)?efficientnetv2_s$", name):
        return _Generator("efficientnet", "_gen_efficientnetv2_s")
    return None


def _torchvision(name: str, classes: int, width: float) -> nn.Module | None:
    """From torchvision's public arguments."""
    from compress.context.vision import torchvision

    models = torchvision.models
    net: nn.Module
    if name == "mobilenet_v2" or name.startswith("mobilenet_v3"):
        net = models.get_model(
            name, weights=None, num_classes=classes, width_mult=width
        )
        return net
    if name.startswith("shufflenet_v2"):
        plain = models.get_model(name, weights=None)
        stages = (plain.stage2, plain.stage3, plain.stage4)
        channels = [
            plain.conv1[0].out_channels,
            *_scaled([s[-1].branch2[-3].out_channels * 2 for s in stages], width),
            plain.conv5[0].out_channels,
        ]
        repeats = [len(stage) for stage in stages]
        net = models.ShuffleNetV2(repeats, channels, num_classes=classes)
        return net
    return None


def _scaled(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Channel counts times `width`, each the nearest multiple of 8, at least 16."""
    return tuple(
        max(2 * _MULTIPLE, _MULTIPLE * round(width * n / _MULTIPLE)) for n in channels
    )
