"""Whether two ways of computing a classifier give the same answers, on real images."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.artifact import Dtype
from runtime.checks import Check
from runtime.errors import Exit, InputRejectedError, ParityError
from runtime.intervals import wilson

Scores = npt.NDArray[np.float32]
Answer = Callable[[Scores], Scores]

# The least SQNR (dB) of a file's scores against the network that it was made of. Float
# files come out at 120 and more, and no other order of a sum costs 80 dB; half
# precision rounds at 66 dB, weights in 8 bits at 20 to 40; INT8 files repeat the
# simulation to the bit, unless float operators ahead of them start a step elsewhere
# (25 dB and more).
SQNR_FLOORS_DB: Final[Mapping[Dtype, float]] = {
    "float32": 40.0,
    "float16": 30.0,
    "dynamic": 10.0,
    "int8": 20.0,
}


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two networks agree; the first is the reference.

    argmax_agreement: share of images whose best class is one that the reference finds
    best, too (several, if its scores tie); None where outputs are no classes: one
    number, or an embedding. sqnr_db: signal to noise of the scores, 10 log10(sum
    reference^2 / sum error^2), None if there is no error at all; of a single output,
    whose mean says nothing about an image, the signal is what is left without it.
    ties: images whose best score two classes share in the second network; it is
    judged by the first of them, as a device would choose.
    """

    images: int
    argmax_agreement: float | None  # fraction
    max_abs_error: float
    sqnr_db: float | None
    ties: int = 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the agreement on images like these (Wilson 1927)."""
        if self.argmax_agreement is None:
            return None
        return wilson(self.argmax_agreement, self.images)

    def above(self, floor_db: float) -> bool:
        """Whether the scores are as exact as `floor_db` asks."""
        return self.sqnr_db is None or self.sqnr_db >= floor_db

    def as_record(self) -> dict[str, object]:
        """Plain data, safe for JSON, for reports."""
        low, high = self.interval or (None, None)
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
        if self.argmax_agreement is None or self.interval is None:
            return f"{self._noise()} on {self.images} images"
        return (
            f"the same answer on {self.argmax_agreement * 100:.2f} % of {self.images} "
            f"images (95 % sure of {self.interval[0] * 100:.2f} %), {self._noise()}"
        )

    def _noise(self) -> str:
        if self.sqnr_db is None:
            return "bit-equal scores"
        return f"SQNR {self.sqnr_db:.1f} dB, largest error {self.max_abs_error:.2g}"


def compare(
    reference: Answer,
    candidate: Answer,
    batches: Iterable[Scores],
    *,
    name: str,
    classes: bool = True,
) -> Parity:
    """Compare two networks on `batches`; see `parity_of`."""
    pairs = ((reference(batch), candidate(batch)) for batch in batches)
    return parity_of(pairs, name=name, classes=classes)


def parity_of(
    pairs: Iterable[tuple[Scores, Scores]], *, name: str, classes: bool = True
) -> Parity:
    """Compare scores, float32 [n, outputs], those of the reference first.

    `name` is what sentences call the second; classes: whether outputs are scores of
    classes, so that the best one is an answer; a single output never is. Scores of
    another shape, or that are not finite, are a ParityError.
    """
    images = agreed = ties = outputs = 0
    signal = total = noise = largest = 0.0
    for reference, candidate in pairs:
        want = np.asarray(reference, np.float64)
        have = np.asarray(candidate, np.float64)
        _check_scores(want, have, first=images, name=name)
        if len(want) == 0:
            continue
        outputs = want.shape[1]
        rows = np.arange(len(want))
        agreed += int((want[rows, have.argmax(axis=1)] == want.max(axis=1)).sum())
        best = have == have.max(axis=1, keepdims=True)
        ties += int((best.sum(axis=1) > 1).sum())
        error = have - want
        signal += float(np.square(want).sum())
        total += float(want.sum())
        noise += float(np.square(error).sum())
        largest = max(largest, float(np.abs(error).max()))
        images += len(want)
    if images == 0:
        raise InputRejectedError(
            f"parity of {name}: no images to compare on; give data with at least one"
        )
    if outputs == 1:
        signal = max(0.0, signal - total**2 / images)
    return Parity(
        images=images,
        argmax_agreement=agreed / images if classes and outputs > 1 else None,
        max_abs_error=largest,
        sqnr_db=sqnr_db(signal, noise),
        ties=ties,
    )


def parity_checks(
    found: Parity, *, file: str, threshold: float, floor_db: float, default: bool
) -> tuple[Check, ...]:
    """What a file has to prove: the network's answers, and scores as exact as asked.

    threshold: least agreement, a fraction; floor_db: least SQNR; default: whether the
    threshold is ours.
    """
    checks = [
        sqnr_check(
            found,
            limit="sqnr_db",
            what="the SQNR of the scores against its network",
            floor_db=floor_db,
            file=file,
            exit_code=Exit.PARITY,
        )
    ]
    if found.argmax_agreement is not None and found.interval is not None:
        low, high = found.interval
        few = f"{found.images} images are too few to be sure, compare on more"
        checks.insert(
            0,
            Check(
                limit="agreement",
                what="the agreement with its network",
                unit="share",
                bound="at least",
                allowed=threshold,
                measured=found.argmax_agreement,
                low=low,
                high=high,
                kept=found.argmax_agreement >= threshold,
                file=file,
                default=default,
                exit_code=Exit.PARITY,
                remark=few if found.argmax_agreement < threshold <= high else "",
            ),
        )
    return tuple(checks)


def sqnr_check(  # noqa: PLR0913  # a limit, and what is held against it
    found: Parity, *, limit: str, what: str, floor_db: float, file: str, exit_code: Exit
) -> Check:
    """Whether scores are as exact as a default of ours asks."""
    return Check(
        limit=limit,
        what=what,
        unit="dB",
        bound="at least",
        allowed=floor_db,
        measured=found.sqnr_db,
        kept=found.above(floor_db),
        file=file,
        default=True,
        exit_code=exit_code,
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


def sqnr_db(signal: float, noise: float) -> float | None:
    """SQNR of powers in decibels; None without noise: JSON knows no infinity."""
    if noise == 0:
        return None
    return 10 * math.log10(max(signal, np.finfo(np.float64).tiny) / noise)
