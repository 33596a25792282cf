from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

import runtime.measure as measuring
from runtime import taking
from runtime.artifact import Artifact
from runtime.batch import Batch
from runtime.errors import DeviceError, RecipeError
from runtime.fresh import Fresh
from runtime.machine import this_machine
from runtime.measure import compared, measure, measure_long, measure_together
from runtime.measurement import Comparison
from runtime.memory import Memory
from runtime.phases import ColdStart
from runtime.timing import Series


@dataclass
class Clock:
    """A clock that moves only when a session runs."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class Fake:
    """A session whose runs take `cost_ns` plus up to 10 % by chance."""

    clock: Clock
    cost_ns: float
    rng: np.random.Generator
    order: list[float] = field(default_factory=list)
    fails: bool = False
    runtime: str = "fake 1.0"
    threads: int = 1
    load_ms: float = 3.0
    input_shape: tuple[int, ...] = (1, 3, 8, 8)

    @property
    def artifact(self) -> Artifact:
        return Artifact(
            path=Path("fake.onnx"), format="onnx", sha256="0" * 64, size_bytes=1
        )

    def run(self, batch: Batch) -> Batch:
        return batch

    def bind(self, batch: Batch) -> Callable[[], object]:
        assert batch.shape == self.input_shape
        return self._once

    def _once(self) -> None:
        if self.fails:
            raise RuntimeError("kernel\n panic")
        self.order.append(self.cost_ns)
        self.clock.now_ns += int(self.cost_ns * (1 + 0.1 * self.rng.random()))

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake files need no process of their own."""
    memory = Memory(peak_rss_bytes=5_000_000, model_rss_bytes=1_000_000)
    start = ColdStart(total_ms=90.0, import_ms=60.0, load_ms=20.0, first_ms=5.0)
    alone = Fresh(memory=memory, start=start)
    monkeypatch.setattr(taking, "fresh", lambda *_, **__: alone)


def test_a_session_that_takes_twice_as_long_has_a_ratio_of_two() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    order: list[float] = []
    slow, fast = Fake(clock, 2e6, rng, order), Fake(clock, 1e6, rng, order)

    measurements, (comparison,) = measure_together(
        {"slow": slow, "fast": fast}, rng=rng, clock=clock
    )

    assert (comparison.a, comparison.b) == ("slow", "fast")
    assert comparison.ratio.value == pytest.approx(2.0, rel=0.02)
    assert comparison.ratio.low < 2.0 < comparison.ratio.high
    assert [each.file for each in measurements] == ["slow", "fast"]
    # They take turns: each pair of runs holds one of both, in either order.
    pairs = np.array(order).reshape(-1, 2)
    assert (pairs.sum(axis=1) == 3e6).all()
    assert 0.3 < (pairs[:, 0] == 2e6).mean() < 0.7
    assert "fast is 2.0" in comparison.as_text()


def test_equal_sessions_are_called_equal() -> None:
    clock, rng = Clock(), np.random.default_rng(1)
    _, (comparison,) = measure_together(
        {"a": Fake(clock, 1e6, rng), "b": Fake(clock, 1e6, rng)}, rng=rng, clock=clock
    )
    assert "equally fast" in comparison.as_text()


def test_every_other_session_is_compared_with_the_first() -> None:
    clock, rng = Clock(), np.random.default_rng(1)
    sessions = {name: Fake(clock, 1e6 * (i + 1), rng) for i, name in enumerate("abc")}
    _, comparisons = measure_together(sessions, rng=rng, clock=clock)
    ratios = [round(each.ratio.value, 1) for each in comparisons]
    assert [(each.a, each.b) for each in comparisons] == [("a", "b"), ("a", "c")]
    assert ratios == [0.5, 0.3]


def test_a_measurement_keeps_every_sample_and_reports_their_percentiles() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    (found,) = measure({"a": Fake(clock, 1e6, rng)}, rng=rng, clock=clock)
    record = found.as_record()

    assert sum(found.warmup_ns) + sum(found.samples_ns) == clock.now_ns
    assert record["runs"] == len(found.samples_ns) >= 200
    for q in (50, 90, 99):
        expected = np.percentile(found.samples_ns, q) / 1e6
        assert record[f"p{q}_ms"] == pytest.approx(expected, rel=1e-12)
        low, high = record[f"p{q}_low_ms"], record[f"p{q}_high_ms"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low <= expected <= high
    assert record["peak_rss_bytes"] == 5_000_000
    contract = "artifact_sha256 runtime device kind threads runs p50_ms p90_ms p99_ms"
    assert {*contract.split(), "peak_rss_bytes", "doubts"} <= record.keys()


def test_one_seed_gives_one_answer() -> None:
    def once() -> dict[str, object]:
        clock, rng = Clock(), np.random.default_rng(4)
        session = Fake(clock, 1e6, np.random.default_rng(5))
        (found,) = measure({"a": session}, rng=rng, clock=clock)
        record = found.as_record()
        for key in ("doubts", "disturbance", "conditions"):  # of this moment
            del record[key]
        return record

    assert once() == once()


def test_an_interpreter_that_fails_while_running_is_a_sentence() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    with pytest.raises(DeviceError, match=r"^a: .*kernel panic$"):
        measure({"a": Fake(clock, 1e6, rng, fails=True)}, rng=rng, clock=clock)


@pytest.mark.parametrize(
    ("runs", "seconds", "names"), [(9, None, "runs"), (200, -1.0, "seconds")]
)
def test_a_measurement_that_means_nothing_is_not_begun(
    runs: int, seconds: float | None, names: str
) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(RecipeError, match=f"^{names}: "):
        measure({}, rng=rng, runs=runs, seconds=seconds)


def test_a_comparison_that_loads_anew_averages_where_memory_lies() -> None:
    """A load may be unlucky by 3 %; each is closed once its follower is open."""
    clock, rng = Clock(), np.random.default_rng(0)
    luck, open_now, most_open = np.random.default_rng(5), [0], [0]

    class Loaded(Fake):
        def close(self) -> None:
            open_now[0] -= 1

    def reopen(_: str) -> Loaded:
        open_now[0] += 1
        most_open[0] = max(most_open[0], open_now[0])
        return Loaded(clock, 1e6 * (1 + 0.03 * luck.random()), rng)

    sessions = {"a": Fake(clock, 1.03e6, rng), "b": Fake(clock, 1e6, rng)}
    _, (fixed,) = measure_together(sessions, rng=rng, runs=600, clock=clock)
    measurements, (moved,) = measure_together(
        sessions, rng=rng, runs=600, reopen=reopen, clock=clock
    )
    assert fixed.ratio.value == pytest.approx(1.03, abs=0.005)
    assert abs(moved.ratio.value - 1) < 0.5 * abs(fixed.ratio.value - 1)
    assert all(len(each.samples_ns) >= 600 for each in measurements)
    assert open_now == [0]
    assert most_open == [4]


def test_few_rounds_are_not_cut_into_parts() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    sessions = {name: Fake(clock, 1e6, rng) for name in "ab"}

    def reopen(name: str) -> Fake:
        raise AssertionError(name)

    for runs, seconds in ((40, None), (200, 0.05)):
        measurements, _ = measure_together(
            sessions, rng=rng, runs=runs, seconds=seconds, reopen=reopen, clock=clock
        )
        assert len(measurements) == 2


def test_a_difference_within_one_percent_is_none() -> None:
    """Steady times, so that the interval is narrow; 0.8 % is memory's whim, 2 % not."""

    def slower_by(share: float) -> Comparison:
        rng = np.random.default_rng(0)
        samples = rng.uniform(1e6, 1.05e6, (2, 1000))
        samples[1] *= 1 + share
        series = Series(samples.astype(np.int64), 0, steady=True)
        (found,) = compared(["a", "b"], series, rng=rng)
        return found

    near, far = slower_by(0.008), slower_by(0.02)
    assert not near.ratio.low <= 1 <= near.ratio.high
    assert near.faster is None
    assert "equally fast" in near.as_text()
    assert far.faster == far.as_record()["faster"] == "a"
    assert far.as_text().startswith("a is 1.02x as fast as b")


def test_a_long_measurement_keeps_its_windows_and_its_verdict() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    (found,) = measure_long(
        {"a": Fake(clock, 5e6, rng)}, mode="sustained", seconds=10, rng=rng, clock=clock
    )
    assert found.steady
    assert found.faults() == ()
    assert found.long is not None
    assert len(found.long.windows) == 10
    runs = sum(each.runs for each in found.long.windows)
    assert found.as_record()["mode"] == "sustained"
    assert len(found.samples_ns) == runs
    assert sum(found.samples_ns) + sum(found.warmup_ns) == clock.now_ns


def test_a_short_certified_run_is_not_called_certified() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    (found,) = measure_long(
        {"a": Fake(clock, 5e6, rng)}, mode="certified", seconds=2, rng=rng, clock=clock
    )
    (fault,) = found.faults()
    assert "certified wants 600 s" in fault


def test_under_emulation_files_run_and_nothing_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No latency, no ratio of latencies, no time to load; by any road."""
    machine = replace(this_machine(), emulator="qemu-aarch64")
    monkeypatch.setattr(measuring, "this_machine", lambda: machine)
    clock, rng = Clock(), np.random.default_rng(0)
    sessions = {name: Fake(clock, 1e6, rng) for name in "ab"}
    alone = measure(sessions, rng=rng, clock=clock)
    together, comparisons = measure_together(sessions, rng=rng, clock=clock)
    long = measure_long(sessions, mode="certified", seconds=600, rng=rng, clock=clock)
    assert comparisons == ()
    for found in (*alone, *together, *long):
        assert found.p50_ms is found.p90_ms is found.p99_ms is found.load_ms is None
        assert found.samples_ns == found.warmup_ns == ()
        assert found.start is None
        assert found.faults() == ()
        (doubt,) = found.doubts()
        assert "latency is refused" in doubt
    assert len(sessions["a"].order) == 9


def test_a_comparison_needs_two() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    with pytest.raises(RecipeError, match="two or more"):
        measure_together({"a": Fake(clock, 1e6, rng)}, rng=rng, clock=clock)
