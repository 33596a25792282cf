"""Which input size a network gets, and how images are brought to it."""

import math
from typing import Final

import torch
from torch import nn

from compress.context.console import Console
from compress.models import meta
from compress.models.construct import skeleton
from compress.models.names import OWN_SIZE, Resolved
from compress.models.spec import ModelSpec
from runtime.errors import RecipeError
from runtime.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

# Sizes that are tried for images smaller than a network's own input, pixels.
_STEP: Final = 16
# What `resolution` is rounded to, pixels.
_MULTIPLE: Final = 8
# A last feature map of one pixel has lost where things are.
_LEAST_MAP: Final = 2


def choose_size(
    spec: ModelSpec,
    resolved: Resolved,
    *,
    size: int | None,
    native_size: int | None,
    console: Console,
) -> int:
    """The input side, pixels; told in a sentence where it is not the network's own.

    `size` is final. Otherwise it is the network's own size if the images have it; for
    smaller images the smallest multiple of 16 not below `native_size` at which the
    last feature map is at least 2x2; with a small stem the images' own size, at least
    32; and `spec.resolution` times that, a multiple of 8.
    """
    own, name = resolved.size, resolved.name
    if size is not None:
        chosen, reason = size, "as asked"
    elif resolved.source == "edgepress":
        chosen, reason = OWN_SIZE, "the size it was designed for"
    elif native_size is None or native_size >= own:
        chosen, reason = own, ""
    elif spec.stem == "small":
        chosen = max(OWN_SIZE, native_size)
        reason = f"the stem is adapted to images of {native_size} pixels"
    else:
        chosen, side = _smallest(spec, own=own, native_size=native_size)
        reason = (
            f"images are {native_size} pixels, and this is the smallest multiple of "
            f"{_STEP} that leaves a last feature map of {side}x{side}"
        )
    if size is None and spec.resolution != 1.0:
        chosen = max(_MULTIPLE, _MULTIPLE * round(chosen * spec.resolution / _MULTIPLE))
        reason = f"resolution times {spec.resolution:g}" + (
            f"; {reason}" if reason else ""
        )
    elif size is not None and spec.resolution != 1.0:
        console.tell(
            f"{name}: the resolution multiplier does not apply to a given size"
        )
    if chosen != own or spec.stem == "small":
        _require(spec, name, own=own, size=chosen)
        if chosen != own:
            console.tell(f"{name}: input {chosen}x{chosen}, not {own}x{own}: {reason}")
    return chosen


def preprocess_for(
    resolved: Resolved, *, size: int, native_size: int | None
) -> Preprocess:
    """What the network's authors did to images, for an input of `size` pixels.

    Only images at least as large as the network's own input are cropped.
    """
    from compress.context.vision import timm, torchvision

    small = native_size is not None and native_size < resolved.size
    if resolved.source == "edgepress":
        return Preprocess(size=size, resize=size)
    if resolved.source == "timm":
        published = timm.get_pretrained_cfg(resolved.name)
        resize = size if small else math.floor(size / published.crop_pct)
        cubic = published.interpolation != "bilinear"
        mean, std = published.mean, published.std
    else:
        recipe = next(
            iter(torchvision.models.get_model_weights(resolved.name))
        ).transforms()
        resize = size if small else round(size * recipe.resize_size[0] / resolved.size)
        cubic = recipe.interpolation.value == "bicubic"
        mean, std = recipe.mean, recipe.std
        if resolved.name in ("googlenet", "inception_v3"):
            # torchvision's weights of these two expect what their transform_input
            # makes of ImageNet-normalized pixels: (x - 0.5) / 0.5.
            mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    first, second, third = (float(value) for value in mean)
    return Preprocess(
        size=size,
        resize=max(size, resize),
        interpolation="bicubic" if cubic else "bilinear",
        mean=(first, second, third),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )


def preprocess_of_factory(size: int) -> Preprocess:
    """What a network of the user's own is fed: ImageNet's normalization, no crop."""
    return Preprocess(size=size, resize=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def runs_at(spec: ModelSpec, size: int) -> bool:
    """Whether the network gives logits for images of `size` pixels."""
    net = _shape_of(spec, size)
    return net is not None and meta.outputs(net, size) is not None


def _shape_of(spec: ModelSpec, size: int) -> nn.Module | None:
    """The network without memory; None: it cannot be built for `size`."""
    try:
        with torch.device("meta"):
            return skeleton(spec, classes=2, size=size)
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError):
        return None  # its attention would have no pixel left


def _smallest(spec: ModelSpec, *, own: int, native_size: int) -> tuple[int, int]:
    """The smallest size that leaves a last feature map, and the side of that map."""
    with torch.device("meta"):
        net = skeleton(spec, classes=2, size=own)
    maps = [name for name, _, side in meta.strided_modules(net, own) if side > 1]
    last = maps[-1] if maps else ""
    start = _STEP * math.ceil(native_size / _STEP)
    for size in range(max(_STEP, start), own, _STEP):
        side = _side_at(spec, last, size)
        if side >= _LEAST_MAP:
            return size, side
    return own, _side_at(spec, last, own)


def _side_at(spec: ModelSpec, module: str, size: int) -> int:
    """The side of what `module` gives for images of `size`; 0: the net cannot run."""
    net = _shape_of(spec, size)
    if net is None or meta.outputs(net, size) is None:
        return 0
    sides = [
        side for name, _, side in meta.strided_modules(net, size) if name == module
    ]
    return sides[-1] if sides else 0


def _require(spec: ModelSpec, name: str, *, own: int, size: int) -> None:
    """Raise RecipeError where the network cannot run at `size`; say what would do."""
    if runs_at(spec, size):
        return
    larger = range(_MULTIPLE * (size // _MULTIPLE + 1), max(own, size) + 1, _MULTIPLE)
    least = next((other for other in larger if runs_at(spec, other)), own)
    raise RecipeError(
        f"size: {name} cannot run on {size}x{size} images; "
        f"the next size that works is {least}"
    )
