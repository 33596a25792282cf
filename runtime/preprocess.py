"""How pixels become what a network was trained on: one record, for every format."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.errors import InputRejectedError
from runtime.typed import Between, record_as

# Deng et al. 2009 as used by torchvision's reference training: mean and standard
# deviation of ImageNet's training pixels, channel by channel, of values in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# An image of this side takes 200 MB as float32; nothing that classifies sees more.
LARGEST_SIDE: Final = 4096

Side = Annotated[int, Between(1, LARGEST_SIDE)]
# Pixels from 0 to 255 have a deviation of 1/255 here; a zero would divide.
Mean = Annotated[float, Between(-1e6, 1e6)]
Deviation = Annotated[float, Between(1e-6, 1e6)]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From uint8 RGB pixels to network input.

    With `exif` an image is first turned upright, as its EXIF orientation says, else it
    is taken as stored. The shorter side is resized to `resize`, the middle `size` x
    `size` is kept, values are divided by 255, then `(x - mean) / std` for each channel.
    """

    size: Side
    resize: Annotated[int, Between(1, 2 * LARGEST_SIDE)]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[Mean, Mean, Mean] = IMAGENET_MEAN
    std: tuple[Deviation, Deviation, Deviation] = IMAGENET_STD
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    exif: bool = True

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Normalize `images` [n, size, size, 3] and put them into `layout`."""
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):  # noqa: PLR2004
            raise InputRejectedError(
                f"images: shape {images.shape}, expected "
                f"[n, {self.size}, {self.size}, 3]"
            )
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
        if self.layout == "NCHW":
            scaled = scaled.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(scaled)

    def as_record(self) -> dict[str, object]:
        """Plain data, for a file's metadata."""
        return asdict(self)

    @classmethod
    def from_record(
        cls, record: Mapping[str, object], *, source: str = "preprocess"
    ) -> "Preprocess":
        """Read back what `as_record` wrote, also after a journey through JSON.

        A record that says nothing of EXIF was written when it was not looked at. An
        unknown key is an error: it would be a step that is left out in silence.
        """
        if isinstance(record, Mapping):
            record = {"exif": False, **record}
        return record_as(cls, record, source=source)
