"""What a quantized network keeps of the float one's answers, on held-out images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from compress.context.progress import passed
from runtime.errors import InputRejectedError

Counted = Literal["answers", "variance"]
Labeled = Callable[[], Iterable[tuple[Tensor, Tensor]]]
# Two networks that answer alike to the last bit: no ratio, but a number to print.
_ALIKE_DB: Final = 150.0


@dataclass(frozen=True, kw_only=True)
class AccuracyReport:
    """How a network answers: fractions of `images` held-out images.

    accuracy: right answers, None where the labels are not this network's classes;
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
    """Asks a network about held-out images and compares it with the float one.

    logits: the float network's, [n, classes]; shown: float32 [n, 3, h, w] batches and
    their labels, in the same order every time.
    """

    shown: Labeled
    logits: Tensor
    labels_fit: bool
    float32: AccuracyReport

    def __call__(self, net: nn.Module) -> AccuracyReport:
        """How `net` answers."""
        answers, labels = _answers(net, self.shown)
        return _verdict(answers, self.logits, labels if self.labels_fit else None)


def evaluator_of(net: nn.Module, shown: Labeled, *, labels_fit: bool) -> Evaluator:
    """A judge that takes `net`, in float, as its measure."""
    logits, labels = _answers(net, shown)
    kept = labels if labels_fit else None
    return Evaluator(shown, logits, labels_fit, _verdict(logits, logits, kept))


def lost_as_text(flips: float, counted: Counted) -> str:
    """What was lost, as a verdict says it."""
    if counted == "variance":
        return f"{flips:.2%} of the answer's variance lost"
    return f"{flips:.2%} of the answers changed"


def sqnr_db(signal: Tensor, noisy: Tensor) -> float:
    """How far above the noise the signal is, in decibels."""
    noise = (noisy.double() - signal.double()).square().sum()
    power = signal.double().square().sum()
    if float(noise) == 0:
        return _ALIKE_DB
    return min(_ALIKE_DB, float(10 * torch.log10(power / noise)))


def _answers(net: nn.Module, shown: Labeled) -> tuple[Tensor, Tensor]:
    """Logits and labels of every image."""
    answers, labels = [], []
    with torch.inference_mode():
        for images, wanted in passed("judging by held-out images", shown()):
            answers.append(net(images))
            labels.append(wanted)
    if not answers:
        raise InputRejectedError("no held-out images to judge the quantized network by")
    return torch.cat(answers), torch.cat(labels)


def _verdict(answers: Tensor, measure: Tensor, labels: Tensor | None) -> AccuracyReport:
    """Compare logits with the float ones and with labels."""
    if answers.shape[1] == 1:
        return AccuracyReport(
            accuracy=None,
            agreement=_explained(measure, answers),
            sqnr_db=sqnr_db(measure, answers),
            images=len(answers),
            counted="variance",
        )
    given = answers.argmax(dim=1)
    right = None if labels is None else float((given == labels).double().mean())
    return AccuracyReport(
        accuracy=right,
        agreement=float((given == measure.argmax(dim=1)).double().mean()),
        sqnr_db=sqnr_db(measure, answers),
        images=len(answers),
    )


def _explained(signal: Tensor, noisy: Tensor) -> float:
    """The share of a signal's variance that noise leaves, at least 0."""
    noise = (noisy.double() - signal.double()).square().sum()
    spread = (signal.double() - signal.double().mean()).square().sum()
    if float(noise) == 0:
        return 1.0
    return max(0.0, 1 - float(noise) / max(float(spread), 1e-30))
