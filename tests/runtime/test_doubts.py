from dataclasses import replace

import numpy as np
import pytest

from runtime.bootstrap import Estimate
from runtime.disturbance import Disturbance
from runtime.early_stopping import EarlyStopping
from runtime.errors import Exit
from runtime.long_run import LongRun
from runtime.machine import Machine
from runtime.measurement import Comparison, Measurement
from runtime.memory import Memory
from runtime.profiled import Profile
from runtime.timeline import Window

MACHINE = Machine(
    cpu="Test CPU",
    arch="x86_64",
    cores=4,
    features=("avx2",),
    governor="performance",
    memory_bytes=8_000_000_000,
    os="Linux 6",
    python="3.11.7",
)


def measurement(level_ns: np.ndarray | None = None) -> Measurement:
    """A measurement that there is nothing to say against."""
    level = np.full(200, 1e6) if level_ns is None else level_ns
    return Measurement(
        artifact_sha256="0" * 64,
        file="net.onnx",
        runtime="fake 1.0",
        threads=1,
        machine=MACHINE,
        load_ms=1.0,
        memory=Memory(peak_rss_bytes=50_000_000, model_rss_bytes=5_000_000),
        warmup_ns=(2_000_000,),
        samples_ns=tuple(level.astype(int).tolist()),
        steady=True,
        disturbance=Disturbance(seconds=1.0, evictions=0, steal_fraction=0.0),
        p50=Estimate(1e6, 0.9e6, 1.1e6),
        p90=Estimate(1e6, 0.9e6, 1.1e6),
        p99=Estimate(1e6, 0.9e6, 1.1e6),
    )


def test_a_clean_measurement_raises_no_doubt() -> None:
    assert measurement().doubts() == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (measurement(np.linspace(1e6, 1.2e6, 200)), "rose by 15%"),
        (measurement(np.linspace(1.2e6, 1e6, 200)), "fell by 13%"),
        (measurement(np.tile([1e6, 1.5e6], 100)), "varies by 20%"),
        (measurement(np.full(50, 1e6)), "only 50 runs"),
        (replace(measurement(), steady=False), "never became steady in 201 runs"),
        (replace(measurement(), memory=None), "peak memory is unknown"),
        (replace(measurement(), threads=8), "8 threads shared 4 cores"),
        (
            replace(measurement(), machine=replace(MACHINE, governor="powersave")),
            "governor is 'powersave'",
        ),
        (
            replace(measurement(), machine=replace(MACHINE, emulator="qemu-aarch64")),
            "it would be that of no device",
        ),
        (
            replace(measurement(), disturbance=Disturbance(seconds=1.0, evictions=50)),
            "took a core away 50 times in 201 runs",
        ),
        (
            replace(
                measurement(),
                disturbance=Disturbance(seconds=1.0, steal_fraction=0.05),
            ),
            "hypervisor took 5%",
        ),
        (
            replace(
                measurement(), disturbance=Disturbance(seconds=1.0, others_cores=1.5)
            ),
            "kept 1.5 of 4 cores busy",
        ),
        (
            replace(measurement(), disturbance=Disturbance(seconds=1, throttled=True)),
            "throttled",
        ),
    ],
)
def test_each_trouble_raises_its_own_doubt(found: Measurement, says: str) -> None:
    (doubt,) = found.doubts()
    assert says in doubt
    assert found.as_record()["doubts"] == [doubt]


def test_an_emulated_time_is_never_shown_as_a_latency() -> None:
    emulated = replace(
        measurement(),
        machine=replace(MACHINE, emulator="qemu-arm"),
        samples_ns=(),
        warmup_ns=(),
        load_ms=None,
        p50=None,
        p90=None,
        p99=None,
    )
    text = " ".join(Profile(measurements=(emulated,)).as_text().split())
    assert "net.onnx refused refused refused" in text
    assert "latency is refused" in text
    assert "--check" in text
    assert "--as rpi5" in text
    record = emulated.as_record()
    assert record["kind"] == "emulated"
    times = [key for key in record if key.endswith("_ms")]
    assert len(times) == 10
    assert {record[key] for key in times} == {None}
    assert record["samples_ns"] == []


def test_a_doubt_that_all_files_share_is_said_once() -> None:
    unsteady = replace(measurement(), steady=False)
    other = replace(unsteady, file="b.onnx", memory=None)
    text = Profile(measurements=(unsteady, other)).as_text()
    text = " ".join(text.split())
    assert text.count("never became steady") == 1
    assert "Doubt about b.onnx: peak memory" in text


def test_the_faster_file_is_named_whichever_way_round_they_were_given() -> None:
    slow_first = Comparison(a="a", b="b", ratio=Estimate(2.0, 1.6, 2.5))
    fast_first = Comparison(a="b", b="a", ratio=Estimate(0.5, 0.4, 0.625))
    expected = "b is 2.00x as fast as a (95 % interval 1.60 to 2.50)"
    assert slow_first.as_text() == fast_first.as_text() == expected


THROTTLED = replace(measurement(), disturbance=Disturbance(seconds=1, throttled=True))


def long(mode: str, latencies_ms: list[float], seconds: float = 600) -> Measurement:
    """A run of minutes with a window for each of the latencies."""
    windows = tuple(
        Window(end_s=(place + 1) * 10, runs=100, p50_ms=ms, p90_ms=ms)
        for place, ms in enumerate(latencies_ms)
    )
    stop = EarlyStopping(estimate_ns=5_000_000, queries=6000, over=500)
    run = LongRun(
        mode="certified" if mode == "certified" else "sustained",
        seconds=seconds,
        kept_every=1,
        windows=windows,
        early_stopping=stop,
    )
    return replace(measurement(), long=run)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (measurement(), None),
        (replace(measurement(), steady=False), None),  # quick: a doubt
        (measurement(np.linspace(1e6, 1.2e6, 200)), None),  # quick: a doubt
        (THROTTLED, "throttled"),
        (long("sustained", [5.0] * 60), None),
        (long("sustained", [5.0] * 30 + [6.0] * 30), "rose by 20% from 5.0 min on"),
        (long("certified", [5.0] * 60), None),
        (long("certified", [5.0] * 60, seconds=1.0), "certified wants 600 s"),
    ],
)
def test_what_is_invalid_is_exit_code_7_unless_forced(
    found: Measurement, says: str | None
) -> None:
    """It stays in the answer, with its doubt, either way."""
    answer = Profile(measurements=(found,))
    assert answer.exit_code == (Exit.FIT if says is None else Exit.DEVICE)
    assert replace(answer, forced=True).exit_code == Exit.FIT
    assert found.as_record()["valid"] is (says is None)
    if says is not None:
        (fault,) = found.faults()
        assert says in fault
        assert "Invalid: " in answer.as_text()
        assert "--force" in answer.as_text()
        forced = replace(answer, forced=True).as_text()
        assert "Invalid" not in forced
        assert "Doubt: " in forced


def test_a_certified_answer_names_the_percentile_that_counts() -> None:
    text = Profile(measurements=(long("certified", [5.0] * 60),)).as_text()
    assert "p90 by MLPerf's early stopping: 5.000 ms (6000 queries" in text
    assert "no throttling is seen" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
