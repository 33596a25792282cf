"""Speed of cuts in the files that are shipped: ONNX and TFLite, float32 and INT8.

usage: python benchmarks/pruning_formats.py [--nets resnet18,…] [--files FOLDER]

The cuts are those of pruning_speed.py, chosen by float32 latencies in ONNX Runtime, so
this tells how far such a choice carries over to other kernels. Weights are random.
Files are written first and kept in the folder; then the whole net and its cuts run in
turn, one thread, one image; latencies are 10th percentiles. Efficiency is
log(speed-up) / log(MACs ratio); 1 is what MACs promise. Adds to
benchmarks/results/pruning_formats.json.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import torch
from int8_speed import images, race
from pruning_speed import NETS, SIZE, TIMES_FEWER, ours, raced, timed, told
from torch import fx, nn

from compress.context.vision import timm
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.plan import planned
from compress.int8.simulate import with_qdq
from compress.pruning.cutting import cut
from compress.quantization.calibrate import scheme_of, seen_ranges
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from export.to_tflite import to_tflite
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.target import int8_target

RESULT = Path(__file__).resolve().parent / "results" / "pruning_formats.json"
KINDS = ("onnx-float32", "onnx-int8", "tflite-float32", "tflite-int8")
MACS = "macs.json"


def cuts(name: str) -> Iterator[tuple[float, nn.Module]]:
    """The whole net and its cuts, each with how many times fewer MACs it has."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    for module in net.modules():
        # Some begin as 0, and what adds nothing is folded away by a converter.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    layout, _, _, table = timed(net, name)
    macs = layout.macs(layout.full)
    yield 1.0, net
    for fewer in TIMES_FEWER:
        kept = ours(layout, net, table, macs / fewer)
        # Which ones go makes no difference to kernels.
        gone = {
            index: range(full - left)
            for index, (left, full) in enumerate(zip(kept, layout.full, strict=True))
            if left < full
        }
        yield macs / layout.macs(kept), cut(net, layout.groups, gone)


def quantized(net: nn.Module, name: str) -> fx.GraphModule:
    """The net with Q and DQ, ranges as they are seen."""
    graph = captured(net, size=SIZE, name=name)
    canonical_(graph)
    plan = planned(graph)
    seen = seen_ranges(graph, plan, lambda: [images()], histograms=False)
    return with_qdq(graph, scheme_of(graph, plan, seen, "minmax"))


def file_of(folder: Path, kind: str) -> Path:
    """Where a net's file of one kind lies."""
    return folder / f"{kind}.{kind.split('-', maxsplit=1)[0]}"


def write(net: nn.Module, name: str, folder: Path) -> None:
    """One net in every kind of file."""
    folder.mkdir()
    int8 = quantized(net, name)
    for kind in KINDS:
        format_, dtype = kind.split("-")
        source = int8 if dtype == "int8" else net
        if format_ == "tflite":
            to_tflite(
                source,
                size=SIZE,
                path=file_of(folder, kind),
                dtype=dtype,
                classes=tuple(f"{each}" for each in range(1000)),
                preprocess=Preprocess(size=SIZE, resize=SIZE),
                recipe_sha256="",
                name=name,
            )
            continue
        model = qdq_model(source, size=SIZE, name=name, batch="static")
        if dtype == "int8":
            model = lowered(model, int8_target(this_machine()))
        onnx.save(model, file_of(folder, kind))


def files(name: str, folder: Path) -> list[float]:
    """Write a net's files unless they are there; how many times fewer MACs each has."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # All or nothing: an interrupted net is begun again.
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            fresh, ratios = Path(unfinished) / name, []
            fresh.mkdir()
            for place, (fewer, net) in enumerate(cuts(name)):
                write(net, name, fresh / f"{place}")
                ratios.append(fewer)
                print(f"{name}: {fewer:.2f}x fewer MACs written", flush=True)
            (fresh / MACS).write_text(json.dumps(ratios), encoding="utf-8")
            fresh.rename(folder)
    found: list[float] = json.loads((folder / MACS).read_text(encoding="utf-8"))
    return found


def measured(
    name: str, folder: Path, ratios: list[float]
) -> Iterator[dict[str, object]]:
    """The rows of one net."""
    for kind in KINDS:
        paths = {
            f"{place}": file_of(folder / f"{place}", kind)
            for place in range(len(ratios))
        }
        dense_ms, *cut_ms = race(paths, rounds=60).values()
        for fewer, ms in zip(ratios[1:], cut_ms, strict=True):
            row = {"net": name, "kind": kind, "macs_ratio": fewer}
            yield row | raced(dense_ms, ms, fewer)


def main() -> None:
    """Write and measure each net."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument(
        "--files", type=Path, default=Path(tempfile.gettempdir()) / "pruning-formats"
    )
    parser.add_argument("--only-write", action="store_true", help="measure later")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.nets:
        folder = options.files / name
        ratios = files(name, folder)
        if options.only_write:
            continue
        rows = list(measured(name, folder, ratios))
        for row in rows:
            print(told(row, "kind"), flush=True)
        kept = json.loads(RESULT.read_text("utf-8"))["rows"] if RESULT.is_file() else []
        kept = [row for row in kept if row["net"] != name]
        record = {"machine": this_machine().as_record(), "rows": kept + rows}
        RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
