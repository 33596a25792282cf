"""Whether fewer multiply-accumulates are less time: plain budgets, and INT8 files.

usage: python benchmarks/pruning_promise.py [--nets resnet18 …] [--parts macs int8]

Part `macs`: `prune --macs --widths kernels`, at 48 and 224 px, in ONNX Runtime
float32. Part `int8`: widths chosen by the latency table of INT8 files, as where ptq
follows, at 224 px, in ONNX Runtime and in LiteRT. Each net is cut to 1.5, 2 and 3 times
fewer MACs; weights are random. Cuts and the whole net run in turn on one thread, one
image; latencies are 10th percentiles of the thread's own time. Efficiency is
log(speed-up) / log(MACs ratio); 1 is what MACs promise. `fixed` is the share of the
whole net's time that the table says is left at the least widths, which no choice of
widths saves. What stands in benchmarks/results/pruning_promise.json is not done again:
an interrupted run goes on, and `--again` begins anew.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from pruning_speed import NETS, TIMES_FEWER, ours, raced
from torch import nn

from compress.context.aim import Aim
from compress.context.context import RunContext, cache_folder
from compress.context.vision import timm
from compress.devices.measuring import machine_of
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.pruning.budget import allowed_units
from compress.pruning.criteria import scores
from compress.pruning.graph import groups_of
from compress.pruning.in_turn import Racer
from compress.pruning.kernel_cost import cost_for
from compress.pruning.latency import latency_table
from compress.pruning.layer_timer import LocalLayerTimer
from compress.pruning.layout import Layout
from compress.pruning.timed_files import TimedFiles, narrowed
from compress.pruning.tradeoff import LEAST, traded
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.target import TARGETS

RESULT = Path(__file__).resolve().parent / "results" / "pruning_promise.json"
CASES = (("macs", 48), ("macs", 224), ("int8", 224))
# Mean and worst efficiency that a part has to reach.
GOALS = {"macs": (0.85, 0.75), "int8": (0.90, 0.75)}


def network(name: str, size: int) -> tuple[nn.Module, Layout]:
    """A net with random weights, none of its branches off, and its layers."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return net, Layout(net, groups_of(net, size=size, name=name), size=size)


def by_macs(name: str, size: int) -> Iterator[dict[str, object]]:
    """Rows of a plain budget of MACs."""
    net, layout = network(name, size)
    worth = scores(net, layout.groups, "l2", rng=torch.Generator().manual_seed(0))
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    macs = layout.macs(layout.full)
    widths = [
        traded(
            layout,
            worth,
            cost_for(Aim(), machine_of),
            most=macs / fewer,
            allowed=allowed,
            unit=" MACs",
            spent=layout.macs,
        )
        for fewer in TIMES_FEWER
    ]
    make = TimedFiles(size=size, name=name, aim=Aim()).maker(net, layout)
    layer_timer = LocalLayerTimer(np.random.default_rng(0))
    dense_ms, *cut_ms = layer_timer.race([make(layout.full), *map(make, widths)])
    for kept, ms in zip(widths, cut_ms, strict=True):
        yield {"runtime": "onnxruntime", **told(layout, kept, dense_ms, ms)}


def by_int8(name: str, size: int) -> Iterator[dict[str, object]]:
    """Rows of cuts that are chosen by the latencies of INT8 files."""
    net, layout = network(name, size)
    aim = Aim(dtype="int8")
    make = TimedFiles(size=size, name=name, aim=aim).maker(net, layout)
    layer_timer = LocalLayerTimer(np.random.default_rng(0), dtype="int8")
    table = latency_table(layout, make, layer_timer, cache=cache_folder())
    least = [
        next(units for units in allowed_units(group, round_to=8) if units >= LEAST * n)
        for group, n in zip(layout.groups, layout.full, strict=True)
    ]
    fixed = table.ms(layout.layers(least)) / table.ms(layout.whole)
    macs = layout.macs(layout.full)
    widths = [ours(layout, net, table, macs / fewer) for fewer in TIMES_FEWER]
    model = Model(
        spec=ModelSpec(name=name),
        net=net,
        preprocess=Preprocess(size=size, resize=size),
        classes=tuple(map(str, range(1000))),
    )
    context = RunContext(folder=cache_folder(), aim=aim)
    racer = Racer(target=TARGETS["android-arm64"], model=model, context=context)
    nets = [net, *(narrowed(net, layout, kept) for kept in widths)]
    for runtime, times in (
        ("onnxruntime", layer_timer.race([make(layout.full), *map(make, widths)])),
        ("litert", racer(nets)),
    ):
        dense_ms, *cut_ms = times
        for kept, ms in zip(widths, cut_ms, strict=True):
            row = told(layout, kept, dense_ms, ms)
            yield {"runtime": runtime, "fixed": fixed, **row}


def told(
    layout: Layout, kept: list[int], dense_ms: float, ms: float
) -> dict[str, object]:
    """One cut."""
    ratio = layout.macs(layout.full) / layout.macs(kept)
    return {"macs_ratio": ratio, **raced(dense_ms, ms, ratio)}


def missed(rows: list[dict[str, object]]) -> Iterator[str]:
    """Goals that were not reached, as sentences."""
    for part, (mean, worst) in GOALS.items():
        found = [float(row["efficiency"]) for row in rows if row["part"] == part]
        if found and sum(found) / len(found) < mean:
            yield f"{part}: mean {sum(found) / len(found):.3f}, goal {mean}"
        if found and min(found) < worst:
            yield f"{part}: worst {min(found):.3f}, goal {worst}"


def main() -> int:
    """Measure what is not measured yet; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--parts", nargs="+", default=sorted(GOALS), choices=GOALS)
    parser.add_argument("--again", action="store_true", help="forget what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    if RESULT.is_file() and not options.again:
        rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    for name in options.nets:
        for part, size in CASES:
            mine = {"part": part, "net": name, "size": size}
            there = any(mine.items() <= row.items() for row in rows)
            if part not in options.parts or there:
                continue
            work = by_macs if part == "macs" else by_int8
            load = os.getloadavg()[0]
            for row in work(name, size):
                rows.append({**mine, "load": load, **row})
                print(
                    f"{name:22} {part} {size:3} px {row['runtime']:11} "
                    f"{row['macs_ratio']:5.2f}x fewer MACs {row['speed_up']:5.2f}x "
                    f"faster  efficiency {row['efficiency']:6.3f}",
                    flush=True,
                )
            record = {"machine": this_machine().as_record(), "rows": rows}
            text = json.dumps(record, indent=2) + "\n"
            RESULT.write_text(text, encoding="utf-8")
    for each in missed(rows):
        print(each)
    return 1 if list(missed(rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
