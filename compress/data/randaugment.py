"""RandAugment's operations, chosen from outside.

`torchvision.transforms.v2.RandAugment` draws from torch's global generator, which the
training loop shares with whatever prepares its batches. Here are the same fourteen
operations, with the same ranges, as functions of what was drawn.
"""

import math
from collections.abc import Callable
from typing import Final

from torch import Tensor

from compress.context.vision import torchvision

_functional = torchvision.transforms.v2.functional

# Operation(image uint8 [3, h, w], strength in [0, 1], sign -1 or 1) -> uint8 [3, h, w]
Operation = Callable[[Tensor, float, int], Tensor]

# Cubuk et al. 2020 use magnitudes 0 to 30; the ranges below are torchvision's.
STRONGEST: Final = 30
_SHEAR: Final = 0.3
_TRANSLATE: Final = 150 / 331
_ROTATE_DEGREES: Final = 30.0
_ENHANCE: Final = 0.9
_POSTERIZE_BITS: Final = 4  # lost at full strength, of 8
_WHITE: Final = 255


def _moved(
    image: Tensor,
    *,
    across: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0, 0),
) -> Tensor:
    """Translate by pixels (x, y), or shear by degrees (x, y) around the corner."""
    moved: Tensor = _functional.affine(
        image,
        angle=0.0,
        translate=list(across),
        scale=1.0,
        shear=list(shear),
        center=[0, 0] if any(shear) else None,
    )
    return moved


def _degrees(strength: float, sign: int) -> float:
    """Convert a shear factor to an angle."""
    return math.degrees(math.atan(sign * strength * _SHEAR))


def _identity(image: Tensor, strength: float, sign: int) -> Tensor:
    del strength, sign
    return image


def _shear_x(image: Tensor, strength: float, sign: int) -> Tensor:
    return _moved(image, shear=(_degrees(strength, sign), 0))


def _shear_y(image: Tensor, strength: float, sign: int) -> Tensor:
    return _moved(image, shear=(0, _degrees(strength, sign)))


def _translate_x(image: Tensor, strength: float, sign: int) -> Tensor:
    return _moved(
        image, across=(int(sign * strength * _TRANSLATE * image.shape[-1]), 0)
    )


def _translate_y(image: Tensor, strength: float, sign: int) -> Tensor:
    return _moved(
        image, across=(0, int(sign * strength * _TRANSLATE * image.shape[-2]))
    )


def _rotate(image: Tensor, strength: float, sign: int) -> Tensor:
    turned: Tensor = _functional.rotate(image, sign * strength * _ROTATE_DEGREES)
    return turned


def _brightness(image: Tensor, strength: float, sign: int) -> Tensor:
    lit: Tensor = _functional.adjust_brightness(image, 1 + sign * strength * _ENHANCE)
    return lit


def _color(image: Tensor, strength: float, sign: int) -> Tensor:
    dyed: Tensor = _functional.adjust_saturation(image, 1 + sign * strength * _ENHANCE)
    return dyed


def _contrast(image: Tensor, strength: float, sign: int) -> Tensor:
    bold: Tensor = _functional.adjust_contrast(image, 1 + sign * strength * _ENHANCE)
    return bold


def _sharpness(image: Tensor, strength: float, sign: int) -> Tensor:
    keen: Tensor = _functional.adjust_sharpness(image, 1 + sign * strength * _ENHANCE)
    return keen


def _posterize(image: Tensor, strength: float, sign: int) -> Tensor:
    del sign
    coarse: Tensor = _functional.posterize(image, 8 - round(strength * _POSTERIZE_BITS))
    return coarse


def _solarize(image: Tensor, strength: float, sign: int) -> Tensor:
    del sign
    inverted: Tensor = _functional.solarize(image, _WHITE * (1 - strength))
    return inverted


def _autocontrast(image: Tensor, strength: float, sign: int) -> Tensor:
    del strength, sign
    spread: Tensor = _functional.autocontrast(image)
    return spread


def _equalize(image: Tensor, strength: float, sign: int) -> Tensor:
    del strength, sign
    even: Tensor = _functional.equalize(image)
    return even


# The order is part of what a view is: append, never insert.
OPERATIONS: Final[tuple[Operation, ...]] = (
    _identity,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
    _brightness,
    _color,
    _contrast,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
