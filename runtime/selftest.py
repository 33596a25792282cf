"""A self-test that travels with a model file: stored images and their expected scores.

Known-answer test: a board runs the images and holds its scores against those of the
network that was trained. Images are stored small, as uint8 RGB, and enlarged by
repeating pixels, which is exact everywhere; they then take the file's own
normalization, so that this is tested, too.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.errors import InputRejectedError
from runtime.typed import Between, record_as

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

IMAGES: Final = 3
# Of the images: a share of the weights, but never less or more than this. In base64 it
# becomes a third more: with scores at most 41 kB, one per cent of an INT8 MobileNetV2.
_SHARE: Final = 0.01
_LEAST_BYTES: Final = 1_024
_MOST_BYTES: Final = 28_224  # 3 images of 56 x 56, a quarter of 224
# Of 1,000 scores a few show as much as all: the best ones, and some at equal distances.
_BEST: Final = 5
_MOST_OUTPUTS: Final = 64
# The widest tolerance, of the largest score: a file that answers 0 to everything is so
# far off, and halfway there a test tells nothing of the network any more.
WIDEST: Final = 0.5
# What a reader takes; a writer stays far below.
_LONGEST_TEXT: Final = 1 << 20
_MOST_IMAGES: Final = 16
_MOST_KEPT: Final = 4096  # scores of an image

_Score = Annotated[float, Between(-1e30, 1e30)]
_Positive = Annotated[float, Between(1e-30, 1e30)]


@dataclass(frozen=True, kw_only=True)
class _Record:
    """The record of a SelfTest."""

    side: Annotated[int, Between(1, 512)]
    pixels: str
    outputs: tuple[Annotated[int, Between(0, 1 << 24)], ...]
    scores: tuple[tuple[_Score, ...], ...]
    tolerance: _Positive
    step: _Positive | None = None
    reference: Literal["network", "file"] = "network"

    def __post_init__(self) -> None:
        """Every image has as many scores as outputs are kept."""
        if not self.scores or not self.outputs:
            raise ValueError("one image or more, and one output or more")
        if any(len(row) != len(self.outputs) for row in self.scores):
            raise ValueError("a score for each output, in every row of scores")
        if len(self.scores) > _MOST_IMAGES or len(self.outputs) > _MOST_KEPT:
            raise ValueError(f"{_MOST_IMAGES} images and {_MOST_KEPT} scores at most")
        if len(self.pixels) > _LONGEST_TEXT:
            raise ValueError(f"pixels of at most {_LONGEST_TEXT} characters")
        most = WIDEST * largest_score(np.asarray(self.scores, np.float32))
        if self.tolerance > most:
            raise ValueError(
                f"a tolerance of at most {most:.3g}, half of the largest score, for "
                f"within {self.tolerance:.3g} lies also what computes something else"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SelfTest:
    """Images, and what the trained network answers to them.

    pixels: uint8 [n, side, side, 3]; outputs: which scores are kept; scores: float32
    [n, kept]; tolerance: how far off a score may be, in its own unit; step: the
    distance of two scores that INT8 can tell apart, None for a float file; reference:
    the trained network's scores, or the file's own where no network stands for it.
    """

    pixels: Pixels
    outputs: tuple[int, ...]
    scores: Scores
    tolerance: float
    step: float | None = None
    reference: Literal["network", "file"] = "network"

    def images(self, size: int) -> Pixels:
        """The images as they are fed to the normalization: [n, size, size, 3]."""
        return enlarged(self.pixels, size)

    @property
    def size_bytes(self) -> int:
        """What it adds to a model file, a few bytes of framing left out."""
        return len(json.dumps(self.as_record(), sort_keys=True))

    def as_record(self) -> dict[str, object]:
        """Plain data, for a file's metadata; nine digits give a float32 exactly."""
        return {
            "side": self.pixels.shape[1],
            "pixels": base64.b64encode(self.pixels.tobytes()).decode("ascii"),
            "outputs": list(self.outputs),
            "scores": [
                [float(f"{score:.9g}") for score in row] for row in self.scores.tolist()
            ],
            "tolerance": self.tolerance,
            "step": self.step,
            "reference": self.reference,
        }

    @classmethod
    def from_record(cls, record: object, *, source: str) -> "SelfTest":
        """Read back what `as_record` wrote; InputRejectedError for anything else."""
        found = record_as(_Record, record, source=source)
        shape = (len(found.scores), found.side, found.side, 3)
        try:
            content = base64.b64decode(found.pixels, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputRejectedError(
                f"{source}: pixels are not base64: {error}; export the file again"
            ) from error
        if len(content) != math.prod(shape):
            raise InputRejectedError(
                f"{source}: pixels are {len(content)} bytes; allowed: "
                f"{math.prod(shape)}, of {len(found.scores)} images"
            )
        return cls(
            pixels=np.frombuffer(content, np.uint8).reshape(shape),
            outputs=found.outputs,
            scores=np.asarray(found.scores, np.float32),
            tolerance=found.tolerance,
            step=found.step,
            reference=found.reference,
        )


def largest_score(scores: Scores) -> float:
    """The largest of scores [n, kept], whatever its sign; 1 where all of them are 0."""
    return float(np.abs(scores).max()) or 1.0


def side_for(weights_bytes: int, *, size: int) -> int:
    """How large images are stored for a network of `weights_bytes`, fed at `size`."""
    room = min(max(_SHARE * weights_bytes, _LEAST_BYTES), _MOST_BYTES)
    return max(1, min(size, math.isqrt(int(room) // (3 * IMAGES))))


def reduced(images: Pixels, side: int) -> Pixels:
    """Every so-many-th pixel of images [n, size, size, 3], from their middles."""
    size = images.shape[1]
    rows = (2 * np.arange(side) + 1) * size // (2 * side)
    return np.ascontiguousarray(images[:, rows][:, :, rows])


def enlarged(images: Pixels, size: int) -> Pixels:
    """Images [n, side, side, 3] at [n, size, size, 3] by repeating pixels."""
    rows = np.arange(size) * images.shape[1] // size
    return np.ascontiguousarray(images[:, rows][:, :, rows])


def kept_outputs(scores: Scores) -> tuple[int, ...]:
    """Which of the scores [n, outputs] a test keeps: the best ones, and a sample."""
    count = scores.shape[1]
    if count <= _MOST_OUTPUTS:
        return tuple(range(count))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_BEST]
    chosen = {int(each) for each in best.ravel()}
    spread = np.linspace(0, count - 1, _MOST_OUTPUTS - len(chosen)).astype(int)
    return tuple(sorted(chosen | {int(each) for each in spread}))
