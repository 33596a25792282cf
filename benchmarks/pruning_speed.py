"""Speed of cuts chosen by measured latency, beside Torch-Pruning's, in one run.

usage: python benchmarks/pruning_speed.py [--nets resnet18,…] [--out FILE]

Weights are random: kernels take as long with any. Each net is cut to 1.5, 2 and 3 times
fewer multiply-accumulates: by us, where our latency table says that they cost most; and
by Torch-Pruning (L2, every layer by one ratio), with any widths and with multiples of
16. All cuts and the whole net run in turn in ONNX Runtime, float32, one thread, one
image. Latencies are 10th percentiles of the thread's own time, so that other programs
count as little as may be. Efficiency is log(speed-up) / log(MACs ratio); 1 is what MACs
promise. Of a prediction, the ratio to what was measured is told.
"""

import argparse
import copy
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import torch
import torch_pruning
from torch import nn

from compress.context.context import cache_folder
from compress.context.vision import timm
from compress.pruning.budget import allowed_units
from compress.pruning.criteria import scores
from compress.pruning.graph import groups_of
from compress.pruning.latency import latency_table
from compress.pruning.latency_table import LatencyTable
from compress.pruning.layer_timer import LocalLayerTimer
from compress.pruning.layout import Kept, Layer, Layout
from compress.pruning.resizing import resized
from compress.pruning.tradeoff import traded
from export.to_onnx import qdq_model
from runtime.errors import RecipeError
from runtime.machine import this_machine

SIZE = 224
NETS = ("resnet18", "mobilenetv2_100", "mobilenetv3_large_100", "resnet50")
TIMES_FEWER = (1.5, 2.0, 3.0)
GOAL_MEAN, GOAL_WORST, GOAL_PREDICTION = 0.95, 0.85, 0.15


def ours(layout: Layout, net: nn.Module, table: LatencyTable, macs: float) -> list[int]:
    """The widths of the largest latency budget that leaves no more than `macs`."""
    worth = scores(net, layout.groups, "l2", rng=torch.Generator().manual_seed(0))
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    whole_ms = table.ms(layout.whole)
    times_fewer = layout.macs(layout.full) / macs
    low, high = 0.7 / times_fewer, min(1.0, 1.6 / times_fewer)
    found = list(layout.full)
    for _ in range(8):
        share = (low + high) / 2
        try:
            kept = traded(
                layout,
                worth,
                table.layer_ms,
                most=share * whole_ms,
                allowed=allowed,
                unit=" ms",
            )
        except RecipeError:
            low = share
            continue
        if layout.macs(kept) > macs:
            high = share
        else:
            low, found = share, kept
    return found


def peer(
    net: nn.Module,
    layout: Layout,
    macs: float,
    *,
    importance: torch_pruning.importance.Importance,
    round_to: int | None,
) -> nn.Module:
    """What Torch-Pruning leaves of a network at the ratio that comes to `macs`."""

    def kept(ratio: float) -> list[int]:
        step = round_to or 1
        return [
            max(step, int(full * (1 - ratio)) // step * step) if full > step else full
            for full in layout.full
        ]

    low, high = 0.0, 0.95
    for _ in range(20):
        ratio = (low + high) / 2
        low, high = (ratio, high) if layout.macs(kept(ratio)) > macs else (low, ratio)
    cut = copy.deepcopy(net)
    image = torch.zeros(1, 3, SIZE, SIZE)
    linear = [m for m in cut.modules() if isinstance(m, nn.Linear)]
    torch_pruning.pruner.BasePruner(
        cut,
        image,
        importance=importance,
        pruning_ratio=high,
        ignored_layers=linear[-1:],
        round_to=round_to,
    ).step()
    return cut


def macs_of(layers: Sequence[Layer]) -> int:
    """Multiply-accumulates of all layers."""
    return sum(layer.macs for layer in layers)


def timed(
    net: nn.Module, name: str
) -> tuple[Layout, onnx.ModelProto, LocalLayerTimer, LatencyTable]:
    """A net's layers, its file, what times files, and how long its layers take."""
    layout = Layout(net, groups_of(net, size=SIZE, name=name), size=SIZE)
    whole = qdq_model(net, size=SIZE, name=name, batch="static")
    layer_timer = LocalLayerTimer(np.random.default_rng(0))

    def make(kept: Kept) -> onnx.ModelProto:
        return resized(whole, layout.layers(kept))

    table = latency_table(layout, make, layer_timer, cache=cache_folder())
    return layout, whole, layer_timer, table


def told(row: Mapping[str, object], by: str) -> str:
    """One line of a table of cuts."""
    return (
        f"{row['net']:22} {row[by]:18} {row['macs_ratio']:5.2f}x fewer MACs "
        f"{row['speed_up']:5.2f}x faster  efficiency {row['efficiency']:6.3f}  "
        f"{row['measured_ms']:6.2f} of {row['dense_ms']:6.2f} ms"
    )


def raced(dense_ms: float, ms: float, macs_ratio: float) -> dict[str, float]:
    """What a race says of one cut."""
    return {
        "dense_ms": dense_ms,
        "measured_ms": ms,
        "speed_up": dense_ms / ms,
        "efficiency": math.log(dense_ms / ms) / math.log(macs_ratio),
    }


def measured(name: str) -> list[dict[str, object]]:
    """All cuts of one net."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    layout, whole, layer_timer, table = timed(net, name)
    rows: list[dict[str, object]] = []
    models = [whole]
    for fewer in TIMES_FEWER:
        most = layout.macs(layout.full) / fewer
        kept = ours(layout, net, table, most)
        cuts = {"ours": layout.layers(kept)}
        l2 = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        for by, round_to in (("torch-pruning", None), ("torch-pruning, 16", 16)):
            left = peer(net, layout, most, importance=l2, round_to=round_to)
            cuts[by] = Layout(left, [], size=SIZE).whole
        for by, layers in cuts.items():
            rows.append(
                {
                    "net": name,
                    "times_fewer": fewer,
                    "by": by,
                    "macs_ratio": macs_of(layout.whole) / macs_of(layers),
                    "predicted_ms": table.ms(layers) if by == "ours" else None,
                    "widths": [layer.outputs for layer in layers],
                }
            )
            models.append(resized(whole, layers))
    dense_ms, *cut_ms = layer_timer.race(models)
    for row, ms in zip(rows, cut_ms, strict=True):
        row.update(raced(dense_ms, ms, row["macs_ratio"]))
    return rows


def missed(rows: Sequence[dict[str, object]]) -> list[str]:
    """Which goals our cuts miss, as sentences."""
    mine = [row for row in rows if row["by"] == "ours"]
    efficiency = [row["efficiency"] for row in mine]
    wrong = [abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in mine]
    found = []
    if (mean := sum(efficiency) / len(mine)) < GOAL_MEAN:
        found.append(f"mean efficiency {mean:.3f}, goal {GOAL_MEAN}")
    if min(efficiency) < GOAL_WORST:
        found.append(f"worst efficiency {min(efficiency):.3f}, goal {GOAL_WORST}")
    if min(row["speed_up"] for row in mine) < 1:
        found.append("a cut is slower than the whole net")
    if max(wrong) > GOAL_PREDICTION:
        found.append(f"a prediction is {max(wrong):.0%} off, goal {GOAL_PREDICTION}")
    return found


def main() -> int:
    """Measure each net; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for name in options.nets.split(","):
        for row in measured(name):
            rows.append(row)
            predicted = row["predicted_ms"]
            beside = f"  predicted {predicted:.2f} ms" if predicted else ""
            print(f"{told(row, 'by')}{beside}", flush=True)
        if options.out:
            record = {"machine": this_machine().as_record(), "rows": rows}
            text = json.dumps(record, indent=2) + "\n"
            options.out.write_text(text, encoding="utf-8")
    for each in missed(rows):
        print(each)
    return 1 if missed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
