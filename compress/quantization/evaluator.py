"""What a quantized network keeps of the float one's answers, on held-out images."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from torch import Tensor, nn

from export.parity import sqnr_db

Counted = Literal["answers", "variance"]
# From logits, float32 [n, classes], and labels, int64 [n], to a number: more is better.
Metric = Callable[[Tensor, Tensor], float]
# Two networks that answer alike to the last bit: no ratio, but a number to print.
ALIKE_DB: Final = 150.0


@dataclass(frozen=True, kw_only=True)
class AccuracyReport:
    """How a network answers: fractions of `images` held-out images.

    accuracy: right answers, or what a metric of the user's own says instead; None where
    the labels are not this network's classes;
    agreement: answers that are the float network's; sqnr_db: of the logits. A single
    output is no choice among classes: there, agreement is the share of the float
    answers' variance that is kept (the coefficient of determination), and counted says
    so.
    """

    accuracy: float | None
    agreement: float
    sqnr_db: float
    images: int
    counted: Counted = "answers"

    @property
    def flips(self) -> float:
        """The share of answers that quantization changed."""
        return 1 - self.agreement

    def drop_from(self, float32: "AccuracyReport") -> float:
        """What was lost: accuracy, or agreement where labels do not fit."""
        if self.accuracy is None or float32.accuracy is None:
            return self.flips
        return float32.accuracy - self.accuracy

    @property
    def lost(self) -> str:
        """What quantization changed, in one clause."""
        return lost_as_text(self.flips, self.counted)

    def as_record(self) -> Mapping[str, object]:
        """Plain data for a report."""
        return {**asdict(self), "flips": self.flips}


@dataclass(frozen=True)
class Evaluator:
    """Asks networks about held-out images and compares them with the float one.

    ask: from a network to its logits, [n, classes], of the same images every time;
    logits: the float network's; labels: int64 [n], None where they do not fit.
    """

    ask: Callable[[nn.Module], Tensor]
    logits: Tensor
    labels: Tensor | None
    float32: AccuracyReport
    metric: Metric | None = None

    def __call__(self, net: nn.Module) -> AccuracyReport:
        """How `net` answers."""
        return _verdict(self.ask(net), self.logits, self.labels, self.metric)


def evaluator_of(
    net: nn.Module,
    ask: Callable[[nn.Module], Tensor],
    labels: Tensor | None,
    metric: Metric | None = None,
) -> Evaluator:
    """A judge that takes `net`, in float, as its measure."""
    logits = ask(net)
    float32 = _verdict(logits, logits, labels, metric)
    return Evaluator(ask, logits, labels, float32, metric)


def lost_as_text(flips: float, counted: Counted) -> str:
    """What was lost, as a verdict says it."""
    if counted == "variance":
        return f"{flips:.2%} of the answer's variance lost"
    return f"{flips:.2%} of the answers changed"


def sqnr_of(signal: Tensor, noisy: Tensor) -> float:
    """SQNR of tensors in decibels, at most what is printed of equal ones."""
    noise = (noisy.double() - signal.double()).square().sum()
    found = sqnr_db(float(signal.double().square().sum()), float(noise))
    return ALIKE_DB if found is None else min(ALIKE_DB, found)


def top1(logits: Tensor, labels: Tensor) -> float:
    """The share of right answers. logits: [n, classes]; labels: int64 [n]."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def _verdict(
    answers: Tensor, measure: Tensor, labels: Tensor | None, metric: Metric | None
) -> AccuracyReport:
    """Compare logits with the float ones and with labels."""
    single = answers.shape[1] == 1
    counted = None if single else top1
    judged = metric or counted
    right = None if labels is None or judged is None else judged(answers, labels)
    if single:
        return AccuracyReport(
            accuracy=right,
            agreement=_explained(measure, answers),
            sqnr_db=sqnr_of(measure, answers),
            images=len(answers),
            counted="variance",
        )
    given = answers.argmax(dim=1)
    return AccuracyReport(
        accuracy=right,
        agreement=float((given == measure.argmax(dim=1)).double().mean()),
        sqnr_db=sqnr_of(measure, answers),
        images=len(answers),
    )


def _explained(signal: Tensor, noisy: Tensor) -> float:
    """The share of a signal's variance that noise leaves, at least 0."""
    noise = (noisy.double() - signal.double()).square().sum()
    spread = (signal.double() - signal.double().mean()).square().sum()
    if float(noise) == 0:
        return 1.0
    return max(0.0, 1 - float(noise) / max(float(spread), 1e-30))
