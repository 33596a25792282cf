"""Whether two ways of computing a classifier give the same answers, on real images."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import InputRejectedError, ParityError

Scores = npt.NDArray[np.float32]
Answer = Callable[[Scores], Scores]

# 97.5 % quantile of the normal distribution: two-sided 95 % intervals.
_Z: Final = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two classifiers agree; the first is the reference.

    argmax_agreement: share of images whose best class is one that the reference finds
    best, too (several, if its scores tie). sqnr_db: signal to noise of the scores,
    10 log10(sum reference^2 / sum error^2); None if there is no error at all.
    ties: images whose best score two classes share in the second classifier; it is
    judged by the first of them, as a device would choose.
    """

    images: int
    argmax_agreement: float  # fraction
    max_abs_error: float
    sqnr_db: float | None
    ties: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the agreement on images like these (Wilson 1927)."""
        n, p = self.images, self.argmax_agreement
        centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_record(self) -> dict[str, object]:
        """Plain data, safe for JSON, for reports."""
        low, high = self.interval
        return {
            "images": self.images,
            "argmax_agreement": self.argmax_agreement,
            "agreement_low": low,
            "agreement_high": high,
            "max_abs_error": self.max_abs_error,
            "sqnr_db": self.sqnr_db,
            "ties": self.ties,
        }

    def as_text(self) -> str:
        """Say it in one clause."""
        low, _ = self.interval
        noise = (
            "bit-equal scores"
            if self.sqnr_db is None
            else f"SQNR {self.sqnr_db:.1f} dB, largest error {self.max_abs_error:.2g}"
        )
        return (
            f"the same answer on {self.argmax_agreement * 100:.2f} % of {self.images} "
            f"images (95 % sure of {low * 100:.2f} %), {noise}"
        )


def compare(
    reference: Answer, candidate: Answer, batches: Iterable[Scores], *, name: str
) -> Parity:
    """Compare two classifiers on `batches`; `name` is what sentences call the second.

    A candidate whose scores have another shape, or are not finite, is a ParityError.
    """
    images = agreed = ties = 0
    signal = noise = largest = 0.0
    for batch in batches:
        want = np.asarray(reference(batch), np.float64)
        have = np.asarray(candidate(batch), np.float64)
        _check_scores(want, have, first=images, name=name)
        if len(want) == 0:
            continue
        rows = np.arange(len(want))
        agreed += int((want[rows, have.argmax(axis=1)] == want.max(axis=1)).sum())
        best = have == have.max(axis=1, keepdims=True)
        ties += int((best.sum(axis=1) > 1).sum())
        error = have - want
        signal += float(np.square(want).sum())
        noise += float(np.square(error).sum())
        largest = max(largest, float(np.abs(error).max()))
        images += len(want)
    if images == 0:
        raise InputRejectedError(
            f"parity of {name}: no images to compare on; give data with at least one"
        )
    return Parity(
        images=images,
        argmax_agreement=agreed / images,
        max_abs_error=largest,
        sqnr_db=_sqnr_db(signal, noise),
        ties=ties,
    )


def check(found: Parity, *, threshold: float, name: str = "the file") -> None:
    """Raise a ParityError unless the agreement is at least `threshold`, a fraction."""
    if found.argmax_agreement >= threshold:
        return
    _, high = found.interval
    unsure = (
        f"; {found.images} images are too few to be sure, compare on more"
        if high >= threshold
        else ""
    )
    raise ParityError(
        f"parity: {name} does not compute what was trained: {found.as_text()}; "
        f"at least {threshold * 100:.2f} % are asked for{unsure}"
    )


def _check_scores(
    want: npt.NDArray[np.float64],
    have: npt.NDArray[np.float64],
    *,
    first: int,
    name: str,
) -> None:
    """Refuse scores that cannot be compared; `first` is the batch's first image."""
    if want.ndim != 2 or want.shape != have.shape:  # noqa: PLR2004  # images, classes
        raise ParityError(
            f"parity: {name} gives scores of shape {list(have.shape)}, the trained "
            f"network {list(want.shape)}; export it again"
        )
    for scores, who in ((want, "the trained network"), (have, name)):
        rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(rows):
            raise ParityError(
                f"parity: {who} gives scores that are not finite for image "
                f"{first + int(rows[0])}; train or export it again"
            )


def _sqnr_db(signal: float, noise: float) -> float | None:
    """Signal to noise; None without noise, never infinite: JSON has no such number."""
    if noise == 0:
        return None
    return 10 * math.log10(max(signal, np.finfo(np.float64).tiny) / noise)
