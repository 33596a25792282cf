import pytest
import torch

from compress.context.vision import torchvision
from compress.data.randaugment import OPERATIONS

v2 = torchvision.transforms.v2

# torchvision's names in the order of our table.
NAMES = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_operation_is_torchvisions(name: str, magnitude: int, sign: int) -> None:
    """The same pixels as v2.RandAugment's own table and transform make."""
    image = torch.randint(
        0,
        256,
        (3, 24, 20),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    theirs = v2.RandAugment()
    magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
    drawn = magnitudes(31, 24, 20)
    value = 0.0 if drawn is None else float(drawn[magnitude] if drawn.ndim else drawn)
    expected = theirs._apply_image_or_video_transform(
        image,
        name,
        value * sign if signed else value,
        interpolation=v2.InterpolationMode.NEAREST,
        fill=theirs._fill,
    )

    ours = OPERATIONS[NAMES.index(name)](image, magnitude / 30, sign)

    # Theirs is a float32 linspace, ours a float64 quotient: a rounding may differ.
    apart = (ours.int() - expected.int()).abs()
    assert apart.float().mean() < 0.01
    assert (apart > 1).float().mean() < 0.002


def test_no_operation_of_torchvision_is_missing() -> None:
    """A release that adds one is noticed here."""
    assert set(v2.RandAugment._AUGMENTATION_SPACE) == set(NAMES)
    assert len(OPERATIONS) == len(NAMES)
