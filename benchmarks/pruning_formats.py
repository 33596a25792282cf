"""Speed of cuts in the files that are shipped: ONNX INT8, TFLite float32, TFLite INT8.

usage: python benchmarks/pruning_formats.py [--nets resnet18,…] [--out FILE]

The cuts are those of pruning_speed.py, chosen by float32 latencies in ONNX Runtime, so
this tells how far such a choice carries over to other kernels. Weights are random. The
whole net and its cuts run in turn, one thread, one image; latencies are 10th
percentiles. Efficiency is log(speed-up) / log(MACs ratio); 1 is what MACs promise.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import torch
from int8_speed import images, race
from pruning_speed import NETS, SIZE, TIMES_FEWER, ours, resized
from torch import fx, nn

from compress.int8.calibrate import scheme_of, seen_ranges
from compress.int8.capture import captured
from compress.int8.plan import planned
from compress.int8.rewrites import canonical_
from compress.int8.simulate import with_qdq
from compress.job import cache_folder
from compress.pruning.cutting import cut
from compress.pruning.graph import groups_of
from compress.pruning.latency import latency_table
from compress.pruning.layout import Kept, Layout
from compress.pruning.stopwatch import LocalStopwatch
from compress.vision import timm
from export.lower import lowered
from export.to_onnx import qdq_model
from export.to_tflite import to_tflite
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.target import TARGETS, int8_target

KINDS = ("onnx int8", "tflite float32", "tflite int8")


def cuts(name: str) -> Iterator[tuple[float, nn.Module]]:
    """The whole net and its cuts, each with how many times fewer MACs it has."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    groups = groups_of(net, size=SIZE, name=name)
    layout = Layout(net, groups, size=SIZE)
    whole = qdq_model(net, size=SIZE, name=name, batch="static")
    stopwatch = LocalStopwatch(TARGETS["local"], np.random.default_rng(0))

    def make(kept: Kept) -> onnx.ModelProto:
        return resized(whole, layout.layers(kept))

    table = latency_table(layout, make, stopwatch, cache=cache_folder())
    macs = layout.macs(layout.full)
    yield 1.0, net
    for fewer in TIMES_FEWER:
        kept = ours(layout, net, table, macs / fewer)
        # Which ones go makes no difference to kernels.
        gone = {
            index: range(left, full)
            for index, (left, full) in enumerate(zip(kept, layout.full, strict=True))
        }
        yield macs / layout.macs(kept), cut(net, groups, gone)


def quantised(net: nn.Module, name: str) -> fx.GraphModule:
    """The net with Q and DQ, ranges as they are seen."""
    graph = captured(net, size=SIZE, name=name)
    canonical_(graph)
    plan = planned(graph)
    seen = seen_ranges(graph, plan, lambda: [images()], histograms=False)
    return with_qdq(graph, scheme_of(graph, plan, seen, "minmax"))


def written(net: nn.Module, name: str, kind: str, path: Path) -> Path:
    """One file."""
    source = quantised(net, name) if kind.endswith("int8") else net
    if kind.startswith("onnx"):
        path = path.with_suffix(".onnx")
        model = qdq_model(source, size=SIZE, name=name, batch="static")
        onnx.save(lowered(model, int8_target(this_machine())), path)
        return path
    path = path.with_suffix(".tflite")
    to_tflite(
        source,
        size=SIZE,
        path=path,
        dtype="int8" if kind.endswith("int8") else "float32",
        io="float32",
        classes=(),
        preprocess=Preprocess(size=SIZE, resize=SIZE),
        recipe_sha256="",
        name=name,
    )
    return path


def measured(name: str) -> list[dict[str, object]]:
    """The rows of one net."""
    nets = list(cuts(name))
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            files = {
                str(place): written(net, name, kind, Path(folder) / str(place))
                for place, (_, net) in enumerate(nets)
            }
            dense_ms, *cut_ms = race(files, rounds=40).values()
        for (fewer, _), ms in zip(nets[1:], cut_ms, strict=True):
            rows.append(
                {
                    "net": name,
                    "kind": kind,
                    "macs_ratio": fewer,
                    "dense_ms": dense_ms,
                    "measured_ms": ms,
                    "speed_up": dense_ms / ms,
                    "efficiency": math.log(dense_ms / ms) / math.log(fewer),
                }
            )
    return rows


def main() -> None:
    """Measure each net."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for name in options.nets.split(","):
        for row in measured(name):
            rows.append(row)
            print(
                f"{name:22} {row['kind']:15} {row['macs_ratio']:5.2f}x fewer MACs "
                f"{row['speed_up']:5.2f}x faster  efficiency {row['efficiency']:6.3f}  "
                f"{row['measured_ms']:6.2f} of {row['dense_ms']:6.2f} ms",
                flush=True,
            )
        if options.out:
            record = {"machine": this_machine().as_record(), "rows": rows}
            text = json.dumps(record, indent=2) + "\n"
            options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
