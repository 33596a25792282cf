"""Measurements come back from their records as they were."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bootstrap import Estimate
from runtime.disturbance import Disturbance
from runtime.errors import InputRejectedError
from runtime.machine import this_machine
from runtime.measurement import Comparison, Measurement
from runtime.memory import Memory
from runtime.profiled import Profile
from runtime.reading import read_profile


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
    other = replace(found, file="b.onnx", memory=None)
    compared = Comparison(a="a.onnx", b="b.onnx", ratio=Estimate(1.0, 0.5, 2.0))
    return Profile(measurements=(found, other), comparisons=(compared,))


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
