"""Measurements come back from their records as they were."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bootstrap import Estimate
from runtime.clocks import Conditions, State
from runtime.disturbance import Disturbance
from runtime.early_stopping import EarlyStopping
from runtime.energy import Energy
from runtime.errors import InputRejectedError
from runtime.long_run import LongRun
from runtime.machine import this_machine
from runtime.measurement import Comparison, Measurement
from runtime.memory import Memory
from runtime.peaks import Peaks
from runtime.phases import ColdStart, Edges
from runtime.profiled import Profile
from runtime.reading import read_profile
from runtime.roofline import Roofline
from runtime.timeline import Window


def profile() -> Profile:
    """Two files that were compared; numbers that binary fractions hold exactly."""
    samples = np.random.default_rng(0).integers(1_000_000, 2_000_000, 300)
    found = Measurement(
        artifact_sha256="0" * 64,
        file="a.onnx",
        runtime="onnxruntime 1.30.0",
        threads=1,
        machine=this_machine(),
        load_ms=12.5,
        memory=Memory(peak_rss_bytes=5_000_000, model_rss_bytes=1_000_000),
        warmup_ns=(3_000_000,),
        samples_ns=tuple(samples.tolist()),
        steady=True,
        disturbance=Disturbance(seconds=1.5, evictions=3, throttled=False),
        p50=Estimate(1_500_000.0, 1_250_000.0, 1_750_000.0),
        p90=Estimate(1_500_000.0, 1_250_000.0, 1_750_000.0),
        p99=Estimate(1_500_000.0, 1_250_000.0, 1_750_000.0),
    )
    other = replace(found, file="b.onnx", memory=None, **further())
    compared = Comparison(a="a.onnx", b="b.onnx", ratio=Estimate(1.0, 0.5, 2.0))
    return Profile(measurements=(found, other), comparisons=(compared,))


def further() -> dict[str, Any]:
    """What only some measurements have, none of it left out."""
    peaks = Peaks(
        threads=1,
        float_gmacs=50.0,
        float_by="numpy",
        int8_gmacs=None,
        int8_by="ONNX Runtime is not installed",
        gbs=4.0,
        cache_bytes=1 << 20,
    )
    window = Window(end_s=600.0, runs=6000, p50_ms=5.0, p90_ms=5.5, clock_mhz=1800.0)
    return {
        "start": ColdStart(total_ms=90.0, import_ms=60.0, load_ms=20.0, first_ms=5.0),
        "edges": Edges(before_ms=1.5, after_ms=0.25),
        "conditions": Conditions(
            before=State(clock_mhz=1800.0, temperature_c=51.5),
            after=State(temperature_c=70.0, held_back=("throttled",)),
        ),
        "long": LongRun(
            mode="certified",
            seconds=600.0,
            kept_every=20,
            windows=(window,),
            early_stopping=EarlyStopping(estimate_ns=5_500_000, queries=6000, over=544),
        ),
        "energy": Energy(
            source="RAPL", mj=30.0, busy_w=5.0, rest_w=(2.0, 2.5), runs=500
        ),
        "roofline": Roofline(
            peaks=peaks, int8=True, macs=10**6, bytes_moved=10**6, working_bytes=10**7
        ),
    }


def test_what_was_refused_reads_itself_back() -> None:
    """An emulated measurement has no times, and no sample to make one of."""
    whole = profile()
    refused = replace(
        whole.measurements[0],
        machine=replace(this_machine(), emulator="qemu-aarch64"),
        load_ms=None,
        warmup_ns=(),
        samples_ns=(),
        p50=None,
        p90=None,
        p99=None,
    )
    written = Profile(measurements=(refused,), forced=True)
    assert read_profile(written.as_json(), source="board") == written
    record = json.loads(written.as_json())
    record["measurements"][0]["machine"]["emulator"] = None
    with pytest.raises(InputRejectedError, match="one sample or more"):
        read_profile(json.dumps(record), source="board")


def test_a_profile_reads_itself_back() -> None:
    """Doubts and percentiles included: they follow from what was read."""
    written = profile()
    again = read_profile(written.as_json(), source="board")
    assert again == written
    assert again.as_text() == written.as_text()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda each: each.pop("machine"), r"measurements\[0\]: machine is missing"),
        (lambda each: each.update(samples_ns=[]), "one sample or more"),
        (lambda each: each.update(samples_ns=["x"]), r"samples_ns\[0\] is 'x'"),
        (lambda each: each.update(p50_ms=-1), "p50_ms is -1"),
        (lambda each: each.update(threads=True), "threads is true"),
        (lambda each: each.update(p50_ms=None), "samples and their percentiles"),
        (lambda each: each.update(long={"mode": "long"}), "long.mode is 'long'"),
        (lambda each: each["machine"].update(cores="2"), "machine: cores is '2'"),
    ],
)
def test_a_record_that_is_none_is_refused(spoil: object, says: str) -> None:
    record = json.loads(profile().as_json())
    spoil(record["measurements"][0])  # type: ignore[operator]
    with pytest.raises(InputRejectedError, match=says):
        read_profile(json.dumps(record), source="board")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measurements": []}', "NaN"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(InputRejectedError, match="board: "):
        read_profile(text, source="board")


def test_a_machine_prints_itself(tmp_path: Path) -> None:
    """The record that another process prints is that of this machine."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "runtime.machine"],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert json.loads(done.stdout)["cpu"] == this_machine().cpu
    assert not list(tmp_path.iterdir())
