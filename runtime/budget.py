"""What a model may cost; `None` is no limit. Limits held against what was measured."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from runtime.checks import Bound, Check, Unit
from runtime.errors import RecipeError
from runtime.units import SHARE, SIZE_BYTES, TIME_MS, Quantity


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a model does cost; `None` is not measured.

    `latency_ms` is the p50 of a native measurement: an emulated one is no latency, and
    a predicted one, `predicted_ms`, is held against a limit of its own.
    top1_start: of the network that accuracy is held against, which `start` names;
    top1_drop_interval: 95 % of the drop, where both answered the same images.
    """

    top1: float | None = None  # fraction
    top1_start: float | None = None  # fraction
    start: str = ""
    top1_drop_interval: tuple[float, float] | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    peak_rss_bytes: int | None = None
    predicted_ms: float | None = None
    predicted_for: str = ""  # the board, and how far such predictions are off

    @property
    def top1_drop(self) -> float | None:
        """Accuracy lost since the start, a fraction; negative if it was gained."""
        if self.top1 is None or self.top1_start is None:
            return None
        return self.top1_start - self.top1


def _limit(text: str, quantity: Quantity) -> Any:  # noqa: ANN401  # as `dataclasses.field` itself is typed
    """A field without a limit; `text` is its help, `quantity` what it counts."""
    return field(default=None, metadata={"help": text, "quantity": quantity})


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits; accuracies are fractions in [0, 1]."""

    top1_drop: float | None = _limit(
        "top-1 accuracy that may be lost, such as 0.02 or 2%", SHARE
    )
    top1_min: float | None = _limit("least top-1 accuracy, such as 0.9 or 90%", SHARE)
    size_bytes: int | None = _limit(
        "largest file: bytes, or such as 2MB, 500kB, 2MiB", SIZE_BYTES
    )
    latency_ms: float | None = _limit(
        "longest median latency: milliseconds, or such as 15ms, 1.5s", TIME_MS
    )
    peak_rss_bytes: int | None = _limit(
        "most memory of the process: bytes, or such as 300MB", SIZE_BYTES
    )
    predicted_ms: float | None = _limit(
        "longest latency as `profile --as` predicts it, which is not measured", TIME_MS
    )
    predicted_target: str | None = field(
        default=None, metadata={"help": "board that is predicted for: rpi4 or rpi5"}
    )

    def __post_init__(self) -> None:
        """Refuse limits that nothing can meet or that mean nothing."""
        for name in ("top1_drop", "top1_min"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise RecipeError(
                    f"budget.{name}: {value}; allowed: a fraction from 0 to 1, or a "
                    "percentage such as 2%"
                )
        for name in ("size_bytes", "latency_ms", "peak_rss_bytes", "predicted_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RecipeError(f"budget.{name}: {value}; allowed: more than 0")

        if (self.predicted_ms is None) != (self.predicted_target is None):
            raise RecipeError(
                "budget: a predicted latency needs a limit and a board: predicted_ms "
                "and predicted_target, or latency_ms: {predicted: 20ms, target: rpi5}"
            )

    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        set_ = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: value for key, value in set_.items() if key != "predicted_target"}

    def checks(self, spent: Spent, *, file: str = "") -> tuple[Check, ...]:
        """Every limit that is set, held against what `file` costs.

        A limit on something that was not measured is missed: silence proves nothing.
        """
        return tuple(
            rule.held(limit, spent, file=file)
            for rule in _RULES
            if (limit := getattr(self, rule.limit)) is not None
        )

    def violations(self, spent: Spent) -> tuple[str, ...]:
        """The limits that `spent` misses, a sentence each; empty is fit to ship."""
        return tuple(each.sentence for each in self.checks(spent) if not each.kept)


@dataclass(frozen=True)
class _Rule:
    """Which number is held against which limit, and what both are called."""

    limit: str
    value: str
    what: str
    bound: Bound
    unit: Unit

    def held(self, limit: float, spent: Spent, *, file: str) -> Check:
        """This limit against what was spent."""
        value: float | None = getattr(spent, self.value)
        kept = value is not None and (
            value >= limit if self.bound == "at least" else value <= limit
        )
        low, high = spent.top1_drop_interval or (None, None)
        paired = self.limit == "top1_drop"
        what = self.what
        if paired and spent.start:
            what = f"{what} against {spent.start}"
        elif self.limit == "predicted_ms" and spent.predicted_for:
            what = f"{what} for {spent.predicted_for}"
        return Check(
            limit=self.limit,
            what=what,
            unit=self.unit,
            bound=self.bound,
            allowed=limit,
            measured=value,
            low=low if paired else None,
            high=high if paired else None,
            kept=kept,
            file=file,
        )


_RULES: Final = (
    _Rule("top1_drop", "top1_drop", "the drop in top-1 accuracy", "at most", "points"),
    _Rule("top1_min", "top1", "top-1 accuracy", "at least", "share"),
    _Rule("size_bytes", "size_bytes", "the file's size", "at most", "bytes"),
    _Rule("latency_ms", "latency_ms", "latency (p50)", "at most", "ms"),
    _Rule("peak_rss_bytes", "peak_rss_bytes", "peak memory", "at most", "bytes"),
    _Rule("predicted_ms", "predicted_ms", "latency predicted", "at most", "ms"),
)
