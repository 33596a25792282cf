"""A latency that was asked for and is missed in the end is an exit code of 5."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import pytest
from torch import Tensor, nn

from compress.cli.main import main
from compress.context.latency_target import Promise
from compress.pruning.latency_search import LatencyChoice, LatencySearch
from compress.pruning.layout import Layout
from runtime.bootstrap import Estimate
from runtime.errors import Exit
from runtime.measurement import Comparison, Measurement


def measured(
    low_ms: float, p50_ms: float, kind: Literal["native", "emulated"] = "native"
) -> Measurement:
    """As much of a measurement as a promise looks at."""
    p50 = Estimate(p50_ms * 1e6, low_ms * 1e6, 2 * p50_ms * 1e6)
    refused = kind == "emulated"
    found = SimpleNamespace(
        kind=kind,
        p50=None if refused else p50,
        p50_ms=None if refused else p50.value / 1e6,
        faults=tuple,
    )
    return cast("Measurement", found)


def against(low: float, ratio: float, high: float) -> Comparison:
    """So many times as long the whole network takes."""
    return Comparison(a="whole", b="made", ratio=Estimate(ratio, low, high))


def promise(share: float | None) -> Promise:
    return Promise(
        stage="prune", share=share, wanted_ms=5.0, predicted_ms=4.8, whole_ms=10.0
    )


def test_a_share_is_judged_by_what_was_timed_in_turn() -> None:
    """Half of the time is twice as fast; the interval has the benefit of the doubt."""
    late, slow = measured(7.0, 8.0), promise(0.5)

    assert slow.broken(late, against(1.9, 1.95, 2.0)) is None
    assert slow.broken(late, against(1.6, 1.7, 1.8)) == (
        "prune: latency is 58.8 % of what it was (95 % sure of at least 55.6 %); asked "
        "for: at most 50.0 %, predicted: 48.0 %"
    )


@pytest.mark.parametrize("share", [None, 0.5])
def test_milliseconds_are_judged_by_the_files_own_median(share: float | None) -> None:
    """So is a share of something that was not timed beside the file."""
    assert promise(share).broken(measured(4.9, 5.3), None) is None
    assert promise(share).broken(measured(5.1, 5.3), None) == (
        "prune: latency (p50) is 5.300 ms (95 % sure of at least 5.100 ms); asked for: "
        "at most 5.000 ms, predicted: 4.800 ms"
    )


def test_an_invalid_measurement_keeps_no_promise() -> None:
    """A throttled machine may have been fast enough before; that proves nothing."""
    throttled = measured(1.0, 1.0)
    cast("SimpleNamespace", throttled).faults = lambda: ("it throttled",)
    said = promise(None).broken(throttled, None)
    assert said is not None
    assert "was not measured" in said


def test_silence_and_emulation_keep_no_promise() -> None:
    for found in (None, measured(1.0, 1.0, kind="emulated")):
        said = promise(None).broken(found, None)
        assert said is not None
        assert "latency was not measured; asked for: at most 5.000 ms" in said


@pytest.mark.parametrize(
    ("words", "left", "code", "sentence"),
    [
        (("--latency-ms", "0.001"), 0.9, Exit.BUDGET, "asked for: at most 0.001 ms, p"),
        (("--latency", "0.05"), 0.9, Exit.BUDGET, "asked for: at most 5.0 %, predict"),
        (("--latency", "0.95"), 0.1, Exit.FIT, ""),
    ],
)
def test_the_run_holds_its_file_to_what_was_asked_for(  # noqa: PLR0913, PLR0917
    draw_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    left: float,
    code: int,
    sentence: str,
) -> None:
    """A table that is wrong about everything chooses the widths; the clock is real."""

    def choose(  # noqa: PLR0913  # as `LatencySearch.choose`
        deadline: LatencySearch,
        net: nn.Module,
        layout: Layout,
        scores: Sequence[Tensor],
        *,
        allowed: Sequence[Sequence[int]],
        share: float,
    ) -> LatencyChoice:
        del net, scores, share
        kept = tuple(each[round(left * (len(each) - 1))] for each in allowed)
        wanted_ms = deadline.latency_ms or 1.0
        assert len(kept) == len(layout.full)
        return LatencyChoice(
            kept=kept,
            **dict.fromkeys(("wanted_ms", "predicted_ms", "measured_ms"), wanted_ms),
            whole_ms=2.0,
        )

    monkeypatch.setattr(LatencySearch, "choose", choose)
    data, out = draw_folder(tmp_path / "data"), tmp_path / "run"
    given = ("--model", "lenet5", "--data", str(data), "--epochs", "0")

    cheap = ("--recover", "none", "--calib-images", "8")
    assert main(["prune", *given, *cheap, *words, "-q", "--out", str(out)]) == code

    budget = json.loads((out / "report.json").read_text())["budget"]
    assert budget["limits"]
    assert len(budget["violations"]) == bool(sentence)
    assert all(sentence in each for each in budget["violations"])
    record = json.loads((out / "01-prune" / "pruning.json").read_text())
    assert record["latency"]["whole_ms"] == 2.0
