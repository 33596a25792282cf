"""Predicted milliseconds of ARM boards against published ones, and the calibration.

usage: python benchmarks/arm_prediction.py NETS [--counts DIR] [--out FILE] [--keep]

NETS holds what `efficientdet_lite.py` wrote. Instructions of each network and of its
post-processing are counted in LiteRT on emulated cores (resumable: a count is kept in
--counts), cycles are llvm-mca's. Of three forms of that analysis the one is taken whose
ratios to the published times agree best on Lite0 and Lite1; one factor a board is
fitted on these two, float32 and int8 together; Lite2 to 4 are held out and judge it.
--keep writes compress/prediction/calibration.json, which `profile --as` reads.
"""

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from compress.prediction.boards import BOARDS, CALIBRATION, Board
from compress.prediction.counting import LITERT, counted
from compress.prediction.cycles import FORMS, Form, Llvm, cycles, installed
from compress.prediction.laps import Runs, instructions
from runtime.files import read_json, sha256_of, write_json

RESULTS = Path(__file__).with_name("results") / "arm_prediction.json"
SOURCE = (
    "github.com/NobuoTsukamoto/benchmarks (MIT), tensorflow/lite/efficentdet/results/"
    "RasPi5 and RasPi4_64bit/efficientdet_latency_v2.18.0.txt: TensorFlow Lite 2.18, "
    "XNNPACK, one thread, mean of 50 inferences"
)
# (board, dtype): ms of EfficientDet-Lite0 to 4.
PUBLISHED: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("rpi5", "float32"): (104.5, 199.0, 328.9, 663.8, 1623.0),
    ("rpi5", "int8"): (44.9, 81.6, 123.8, 233.0, 550.1),
    ("rpi4", "float32"): (328.7, 648.1, 1048.8, 2209.0, 5515.0),
    ("rpi4", "int8"): (197.8, 372.3, 601.7, 1202.0, 2988.0),
}
FITTED_ON = (0, 1)
GOAL = 0.25  # mean held-out error


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network on a board: counted, analyzed in each form, and as published."""

    board: str
    net: int
    dtype: str
    instructions: int
    analyzed_ms: Mapping[Form, float]
    published_ms: float

    def ratio(self, form: Form) -> float:
        """How many times as long as analyzed it takes."""
        return self.published_ms / self.analyzed_ms[form]


def runs_of(path: Path, board: Board, folder: Path) -> Runs:
    """Blocks of one inference of a file, from its count or counted now."""
    kept = folder / f"{path.stem}-{board.cpu}.json"
    digest = sha256_of(path)
    if kept.exists():
        record = read_json(kept)
        if record["sha256"] == digest and record["litert"] == LITERT:
            return {tuple(words): times for *words, times in record["blocks"]}
    print(f"counting {path.name} on {board.cpu}", flush=True)
    # Networks of seconds: what is no operator is 0.2 % and would double the work.
    whole = counted(path, cpu=board.cpu, once=True).whole
    blocks = [[*block, times] for block, times in whole.items()]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"sha256": digest, "litert": LITERT, "blocks": blocks})
    return whole


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where networks and their counts lie, and what analyzes them."""

    nets: Path
    counts: Path
    llvm: Llvm


def case(net: int, dtype: str, board: Board, at: Sources) -> Case:
    """One network with its post-processing."""
    whole: Counter[tuple[str, ...]] = Counter()
    for part in ("", "post_"):
        path = at.nets / f"lite{net}_{part}{dtype}.tflite"
        whole.update(runs_of(path, board, at.counts))
    return Case(
        board=board.name,
        net=net,
        dtype=dtype,
        instructions=instructions(whole),
        analyzed_ms={
            form: cycles([whole], core=board.core, llvm=at.llvm, form=form)[0]
            / (board.ghz * 1e6)
            for form in FORMS
        },
        published_ms=PUBLISHED[board.name, dtype][net],
    )


def factor(cases: Iterable[Case], form: Form) -> float:
    """What makes the logarithms of analyzed and published times agree in the mean."""
    logs = [math.log(each.ratio(form)) for each in cases if each.net in FITTED_ON]
    return math.exp(sum(logs) / len(logs))


def spread(cases: Iterable[Case], form: Form) -> float:
    """By how much the ratios of fitted networks differ: mean |log| from their mean."""
    fitted = [each for each in cases if each.net in FITTED_ON]
    middle = math.log(factor(fitted, form))
    return sum(abs(math.log(each.ratio(form)) - middle) for each in fitted) / len(
        fitted
    )


class HeldOut(TypedDict):
    """A network that the factor was not fitted on."""

    net: str
    dtype: str
    published_ms: float
    predicted_ms: float
    error: float


class Calibrated(TypedDict):
    """One board's record in calibration.json."""

    factor: float
    error: float
    worst: float
    form: Form
    litert: str
    llvm: str
    fitted_on: list[str]
    held_out: list[HeldOut]


class Judged(TypedDict):
    """What one LLVM's analysis is worth."""

    llvm: str
    form: Form
    mean_error: float
    boards: dict[str, Calibrated]
    forms: dict[Form, object]
    cases: list[dict[str, object]]


def errors(cases: Iterable[Case], form: Form, by: float) -> list[HeldOut]:
    """How far off each held-out network is: predicted / published - 1."""
    return [
        {
            "net": f"EfficientDet-Lite{each.net}",
            "dtype": each.dtype,
            "published_ms": each.published_ms,
            "predicted_ms": round(by * each.analyzed_ms[form], 1),
            "error": round(by / each.ratio(form) - 1, 4),
        }
        for each in cases
        if each.net not in FITTED_ON
    ]


def calibrated(cases: list[Case], form: Form, llvm: Llvm) -> Calibrated:
    """Fit a board's factor, and judge it."""
    by = factor(cases, form)
    held_out = errors(cases, form, by)
    off = [abs(each["error"]) for each in held_out]
    return {
        "factor": round(by, 4),
        "error": round(sum(off) / len(off), 4),
        "worst": round(max(off), 4),
        "form": form,
        "litert": LITERT,
        "llvm": llvm.version,
        "fitted_on": [
            f"EfficientDet-Lite{each.net} {each.dtype}"
            for each in cases
            if each.net in FITTED_ON
        ],
        "held_out": held_out,
    }


def judged(at: Sources) -> Judged:
    """Fit and judge with one LLVM."""
    llvm = at.llvm
    cases = [
        case(net, dtype, BOARDS[board], at)
        for (board, dtype), times in PUBLISHED.items()
        for net in range(len(times))
        if (at.nets / f"lite{net}_{dtype}.tflite").exists()
    ]
    groups = {name: [each for each in cases if each.board == name] for name in BOARDS}
    tried: dict[Form, object] = {
        form: {
            "spread_on_fitted": {
                name: round(spread(group, form), 4) for name, group in groups.items()
            },
            "held_out": {
                name: calibrated(group, form, llvm) for name, group in groups.items()
            },
        }
        for form in FORMS
    }
    best = min(
        FORMS, key=lambda form: sum(spread(group, form) for group in groups.values())
    )
    boards = {name: calibrated(group, best, llvm) for name, group in groups.items()}
    return {
        "llvm": llvm.version,
        "form": best,
        "mean_error": sum(each["error"] for each in boards.values()) / len(boards),
        "boards": boards,
        "forms": tried,
        "cases": [asdict(each) for each in cases],
    }


def main() -> int:
    """Count, analyze, fit, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", type=Path)
    parser.add_argument("--counts", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    counts = options.counts or options.nets / "counts"
    boards: dict[str, dict[str, object]] = {name: {} for name in BOARDS}
    results, means = [], []
    for llvm in installed():
        result = judged(Sources(nets=options.nets, counts=counts, llvm=llvm))
        results.append(result)
        means.append(result["mean_error"])
        for name, each in result["boards"].items():
            boards[name][llvm.major] = each
        told = {name: f"{each['error']:.1%}" for name, each in result["boards"].items()}
        print(f"LLVM {llvm.version}, form {result['form']}: held-out error {told}")
    write_json(options.out, {"source": SOURCE, "results": results})
    if options.keep:
        made_by = f"benchmarks/{Path(__file__).name}"
        record = {"source": SOURCE, "made_by": made_by, "boards": boards}
        write_json(CALIBRATION, record)
    print(f"mean held-out error {max(means):.1%} at most (goal: {GOAL:.0%})")
    return 0 if max(means) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
