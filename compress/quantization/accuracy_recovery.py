"""The doctor: a fixed ladder of remedies, climbed until the accuracy holds."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from torch import Tensor, fx

from compress.int8.simulate import QuantizedNet
from compress.quantization.calibrate import Batches
from compress.quantization.evaluator import (
    AccuracyReport,
    Counted,
    Evaluator,
    lost_as_text,
)
from compress.quantization.ptq import DEFAULT, Methods, Say, quantized
from compress.quantization.sensitivity import most_harmful

# What each rung adds to those below it; a float rung leaves so many operators float.
REMEDIES: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("default", {}),
    ("better ranges", {"ranges": "output"}),
    ("equalization", {"equalize": True}),
    ("bias correction", {"correct_bias": "all"}),
    ("learned rounding", {"learn_rounding": True}),
)
# Then the most harmful operators go back to float, so many at a time.
FLOAT_STEPS: Final = (1, 2, 4, 8)
TRAINED: Final = "short QAT"
# Differences of fractions are exact to this much.
_EXACT: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be lost on held-out images, fractions of them; None: no limit.

    accuracy_drop: right answers, or any where labels do not fit; flips: any answers. Of
    a single output, both are shares of its variance.
    """

    accuracy_drop: float | None = None
    flips: float | None = None

    def excess(self, *, drop: float, flips: float) -> float:
        """By how much the limit that is missed most is missed; 0 or less: all hold."""
        pairs = ((drop, self.accuracy_drop), (flips, self.flips))
        return max(lost - most for lost, most in pairs if most is not None)

    def as_text(self) -> str:
        """Say it in one clause."""
        told = (("lost", self.accuracy_drop), ("changed", self.flips))
        return " and ".join(
            f"at most {most:.2%} {what}" for what, most in told if most is not None
        )


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What a rung came to.

    drop: accuracy lost against float32, or flips where labels do not fit; blames: the
    tensors that harm the answer most; left_float: operators that compute in float.
    """

    name: str
    accuracy: float | None
    flips: float
    sqnr_db: float
    drop: float
    seconds: float
    blames: tuple[str, ...]
    left_float: tuple[str, ...]
    holds: bool
    counted: Counted = "answers"

    def as_record(self) -> dict[str, object]:
        """Plain data for a report."""
        record = asdict(self)
        return record | {
            "blames": list(self.blames),
            "left_float": list(self.left_float),
        }


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The network of the first rung that holds, or of the best one if none does."""

    net: QuantizedNet
    rungs: tuple[Attempt, ...]
    holds: bool


@dataclass(frozen=True)
class _Tried:
    """A rung, its network and how it was judged; excess: see `Limits`."""

    net: QuantizedNet
    record: Attempt
    excess: float


def _silent(sentence: str) -> None:
    """Say nothing."""
    del sentence


def recover_accuracy(  # noqa: PLR0913  # what to recover_accuracy, how to judge, and how to speak of it
    graph: fx.GraphModule,
    images: Batches,
    judge: Evaluator,
    *,
    limits: Limits,
    methods: Methods = DEFAULT,
    levels: Tensor | None = None,
    train: Callable[[QuantizedNet], QuantizedNet] | None = None,
    say: Say = _silent,
) -> Recovered:
    """Climb the ladder from `methods` on; stop at the first rung within all `limits`.

    A rung that changes nothing is passed over. `train`: the last resort, a short QAT.
    """
    tried: list[_Tried] = []

    def climbed(name: str, made: Callable[[], QuantizedNet]) -> bool:
        started = time.monotonic()
        net = made()
        tried.append(_judged(name, net, judge, limits, time.monotonic() - started))
        say(_told(tried[-1].record))
        return tried[-1].record.holds

    drops: dict[Methods, tuple[float, float]] = {}
    for name, added in REMEDIES:
        # What made things worse is not built upon.
        ground = min(drops, key=drops.__getitem__, default=methods)
        asked = replace(ground, **added)  # type: ignore[arg-type]
        if asked in drops:
            continue
        if climbed(name, lambda m=asked: _made(graph, images, m, levels)):  # type: ignore[misc]
            return _healed(tried)
        drops[asked] = (tried[-1].excess, -tried[-1].record.sqnr_db)
    best = min(tried, key=lambda each: each.excess)
    harmful = most_harmful(best.net, images)
    for count in FLOAT_STEPS:
        left = frozenset(harmful[:count])
        scheme = best.net.scheme.without(left)
        if climbed(
            f"{count} in float",
            lambda s=scheme: QuantizedNet(best.net.graph, s),  # type: ignore[misc]
        ):
            return _healed(tried, blames=harmful)
    if train is not None:
        climbed(TRAINED, lambda: train(best.net))
    return _healed(tried, blames=harmful)


def _made(
    graph: fx.GraphModule, images: Batches, methods: Methods, levels: Tensor | None
) -> QuantizedNet:
    """Quantize by these methods."""
    return quantized(graph, images, methods=methods, levels=levels)


def _judged(
    name: str, net: QuantizedNet, judge: Evaluator, limits: Limits, seconds: float
) -> _Tried:
    """What a rung came to."""
    verdict: AccuracyReport = judge(net)
    drop = verdict.drop_from(judge.float32)
    excess = limits.excess(drop=drop, flips=verdict.flips)
    record = Attempt(
        name=name,
        accuracy=verdict.accuracy,
        flips=verdict.flips,
        sqnr_db=verdict.sqnr_db,
        drop=drop,
        seconds=round(seconds, 1),
        blames=(),
        left_float=tuple(sorted(net.scheme.left_float)),
        holds=excess <= _EXACT,
        counted=verdict.counted,
    )
    return _Tried(net, record, excess)


def _healed(tried: Sequence[_Tried], *, blames: Sequence[str] = ()) -> Recovered:
    """The first rung that holds, else the one that is closest to it."""
    records = [
        replace(each.record, blames=tuple(blames[:5]))
        if each.record.left_float or each.record.name == TRAINED
        else each.record
        for each in tried
    ]
    holding = next((each for each in tried if each.record.holds), None)
    best = holding or min(tried, key=lambda each: each.excess)
    return Recovered(net=best.net, rungs=tuple(records), holds=holding is not None)


def _told(record: Attempt) -> str:
    """One line of the conversation."""
    right = "" if record.accuracy is None else f"top-1 {record.accuracy:.2%}, "
    return (
        f"doctor: {record.name}: {right}{lost_as_text(record.flips, record.counted)}, "
        f"SQNR {record.sqnr_db:.1f} dB, {record.seconds:.0f} s: "
        f"{'holds' if record.holds else 'does not hold'}"
    )
