"""The harness measured on itself: false alarms, found slowdowns, other programs' times.

usage: python benchmarks/harness.py [--trials 40] [--turns 6] [--runs 300] [--out FILE]

False alarms (A/A): one file is loaded twice and compared with itself, as
`profile --compare` does it; an alarm is a comparison that calls either faster. Found:
one of the two has 2 % of its inference added in real work, a loop of additions whose
length is timed in turn with the inference; found is a comparison that calls that one
slower. A trial takes 3 or 5 of the 30 s allowed.

Other programs: `litert-benchmark` of the LiteRT wheel, and `onnxruntime_test` of the
ONNX Runtime wheel (`onnxruntime_perf_test` is in no wheel; this one prints a mean, and
takes as many threads as there are cores, so it is given one core). They and
`python -m runtime` run in turn, each in a process of its own, on one core and with one
thread; the ratio is that of the medians over the turns: p50 for LiteRT, for ONNX
Runtime the mean, since that is what it tells.

The files are written here, with random weights: MobileNetV2 0.35 at 96 px and whole at
224 px for the trials, the latter in both formats for the programs. The machine should
be quiet: what else runs is in the answer. Takes some nine minutes; writes
benchmarks/results/harness.json.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from runtime.disturbance import watch
from runtime.intervals import wilson
from runtime.layouts import series_in_layouts
from runtime.machine import this_machine
from runtime.measure import compared
from runtime.measurement import ALIKE, Comparison
from runtime.session import Session, open_session
from runtime.timing import timed

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "harness.json"
# What is written: a net of timm, its classes, its side, its format.
NETS = {
    "small": ("mobilenetv2_035", 10, 96, "onnx"),
    "onnx": ("mobilenetv2_100", 1000, 224, "onnx"),
    "tflite": ("mobilenetv2_100", 1000, 224, "tflite"),
}
# Seconds of a trial and the share of `--trials` that a file gets.
TRIALS = {"small": (20.0, 1.0), "onnx": (28.0, 0.3)}
SLOWER = 0.02
# The bars; a trial may take 30 s.
MOST_ALARMS, LEAST_FOUND, CLOSE = 0.05, 0.95, 0.02
_PATIENCE_S = 300.0
_CALIBRATION_ROUNDS = 40


def written(folder: Path) -> dict[str, Path]:
    """The files by their names in `NETS`; made once a folder."""
    import torch

    from compress.context.vision import timm
    from export.to_onnx import to_onnx
    from export.to_tflite import to_tflite
    from runtime.preprocess import Preprocess

    files = {}
    for name, (net, classes, size, kind) in NETS.items():
        files[name] = folder / f"{net}_{size}.{kind}"
        if files[name].exists():
            continue
        torch.manual_seed(0)
        write = to_tflite if kind == "tflite" else partial(to_onnx, batch="static")
        write(
            timm.create_model(net, num_classes=classes).eval(),
            size=size,
            path=files[name],
            classes=tuple(str(each) for each in range(classes)),
            preprocess=Preprocess(size=size, resize=size),
            recipe_sha256="",
            name=net,
        )
    return files


def additions(count: int) -> Callable[[], object]:
    """Real work: `count` additions in Python."""

    def work() -> None:
        total = 0
        for each in range(count):
            total += each

    return work


def slowed(call: Callable[[], object], share: float) -> Callable[[], object]:
    """`call` with work added that takes `share` of it, timed in turn with it."""
    unit = 200
    calls = [call, additions(unit)]
    order = np.tile(np.arange(2), (_CALIBRATION_ROUNDS, 1))
    samples = np.zeros((2, _CALIBRATION_ROUNDS), np.int64)
    timed(calls, order, samples)
    ratio = np.median(samples[0] / samples[1])
    work = additions(round(unit * ratio * share))

    def both() -> None:
        call()
        work()

    return both


class Slower:
    """A session whose inferences take longer by a share of themselves."""

    def __init__(self, inner: Session, share: float) -> None:
        """Slow `inner` down."""
        self.inner, self.share = inner, share

    def __getattr__(self, name: str) -> object:
        """All else is that of the session itself."""
        return getattr(self.inner, name)

    def bind(self, batch: np.ndarray) -> Callable[[], object]:
        """One inference, and work."""
        call = self.inner.bind(batch)
        call()
        return slowed(call, self.share)


def trial(path: Path, seconds: float, share: float, seed: int) -> Comparison:
    """The file against itself, the second one slower by `share`."""
    rng = np.random.default_rng(seed)

    def opened(name: str) -> Session:
        session = open_session(path)
        return Slower(session, share) if share and name == "b" else session

    sessions = {name: opened(name) for name in "ab"}
    series = series_in_layouts(
        sessions, reopen=opened, runs=200, seconds=seconds, rng=rng
    )
    (found,) = compared(list(sessions), series, rng=rng)
    for session in sessions.values():
        session.close()
    return found


def counted(path: Path, trials: int, seconds: float) -> dict[str, object]:
    """Alarms and finds of one file."""
    began = time.monotonic()
    alike = [trial(path, seconds, 0.0, seed) for seed in range(trials)]
    slower = [trial(path, seconds, SLOWER, seed) for seed in range(trials)]
    alarms = sum(each.faster is not None for each in alike)
    found = sum(each.faster == "a" for each in slower)
    return {
        "file": path.name,
        "trials": trials,
        "seconds_each": seconds,
        "false_alarms": alarms / trials,
        "false_alarms_95": wilson(alarms / trials, trials),
        "found": found / trials,
        "found_95": wilson(found / trials, trials),
        "ratios_alike": [round(each.ratio.value, 4) for each in alike],
        "ratios_slower": [round(1 / each.ratio.value, 4) for each in slower],
        "seconds": round(time.monotonic() - began),
    }


def one_core(words: Sequence[str]) -> str:
    """What a program prints that runs on one core."""
    core = max(os.sched_getaffinity(0))
    done = subprocess.run(
        [shutil.which("taskset") or "taskset", "-c", str(core), *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE_S,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


def by_ours(path: Path, runs: int) -> dict[str, float]:
    """p50 and mean of `python -m runtime`."""
    words = [sys.executable, "-m", "runtime", str(path), f"--runs={runs}", "--json"]
    (found,) = json.loads(one_core([*words, "--force", "-q"]))["measurements"]
    return {"p50": found["p50_ms"], "mean": statistics.fmean(found["samples_ns"]) / 1e6}


def by_litert(path: Path, runs: int) -> dict[str, float]:
    """The median that `litert-benchmark` prints."""
    module = "ai_edge_litert.tools.benchmark_litert_model"
    words = [sys.executable, "-m", module, f"--model={path}", "--num_threads=1"]
    printed = one_core([*words, f"--num_runs={runs}", "--warmup_runs=20"])
    found = re.search(r"Inference \(median\):\s+([\d.]+) ms", printed)
    if found is None:
        raise SystemExit(f"litert-benchmark printed no median:\n{printed}")
    return {"p50": float(found[1])}


def by_onnxruntime(path: Path, runs: int) -> dict[str, float]:
    """The mean that ONNX Runtime's own test program prints."""
    module = "onnxruntime.tools.onnxruntime_test"
    printed = one_core([sys.executable, "-m", module, str(path), str(runs)])
    found = re.search(r"avg latency: ([\d.]+) ms", printed)
    if found is None:
        raise SystemExit(f"onnxruntime_test printed no latency:\n{printed}")
    return {"mean": float(found[1])}


def in_turn(
    path: Path,
    other: Callable[[Path, int], dict[str, float]],
    *,
    turns: int,
    runs: int,
) -> dict[str, object]:
    """Ours and another program's, one after the other, `turns` times."""
    pairs = [(by_ours(path, runs), other(path, runs)) for _ in range(turns)]
    what = next(iter(pairs[0][1]))
    ours = [pair[0][what] for pair in pairs]
    theirs = [pair[1][what] for pair in pairs]
    return {
        "file": path.name,
        "what": what,
        "runs": runs,
        "ours_ms": [round(each, 3) for each in ours],
        "theirs_ms": [round(each, 3) for each in theirs],
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 4),
    }


def _pooled(answers: Sequence[Mapping[str, object]], key: str) -> float:
    """A share over the trials of all files."""
    count = sum(each["trials"] for each in answers)
    return sum(each[key] * each["trials"] for each in answers) / count


def told(answer: Mapping[str, object]) -> str:
    """One line of the answer, without its samples."""
    return ", ".join(
        f"{key} {value}" for key, value in answer.items() if not isinstance(value, list)
    )


def main() -> int:
    """Run all parts, keep their figures, fail where one misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, help="of each kind (40)")
    parser.add_argument("--turns", type=int, default=6, help="of the programs (6)")
    parser.add_argument("--runs", type=int, default=300, help="inferences a turn (300)")
    parser.add_argument("--files", type=Path, help="folder that keeps the files")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    so_far = watch()
    with tempfile.TemporaryDirectory() as made:
        folder = options.files or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        files = written(folder)
        trials = []
        for name, (seconds, share) in TRIALS.items():
            count = max(1, round(options.trials * share))
            trials.append(counted(files[name], count, seconds))
            print(told(trials[-1]), flush=True)
        programs = {
            name: in_turn(files[kind], other, turns=options.turns, runs=options.runs)
            for name, kind, other in (
                ("litert-benchmark", "tflite", by_litert),
                ("onnxruntime_test", "onnx", by_onnxruntime),
            )
        }
    for name, each in programs.items():
        print(f"{name}: {told(each)}", flush=True)
    seen = so_far()
    kept = {
        "false alarms": _pooled(trials, "false_alarms") <= MOST_ALARMS,
        "found": _pooled(trials, "found") >= LEAST_FOUND,
        **{name: abs(each["ratio"] - 1) <= CLOSE for name, each in programs.items()},
    }
    answer = {
        "machine": this_machine().as_record(),
        "others_cores": seen.others_cores,
        "slower": SLOWER,
        "alike": ALIKE,
        "comparisons": trials,
        "programs": programs,
        "kept": kept,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    print(f"kept: {kept}; others kept {seen.others_cores:.1f} cores busy")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
