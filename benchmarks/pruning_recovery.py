"""What a cut without training costs MobileNetV2: ours beside Torch-Pruning's L1.

    python benchmarks/pruning_recovery.py [--macs 0.9,0.8] [--images 256]

Real weights, 650 images to judge by, and 256 others, whose labels nobody looks at, to
recover on. Ours is the stage `prune` as the command line runs it, without an epoch of
training, its options given here by --criterion, --round-to and --steps. Torch-Pruning
cuts every layer by one ratio, once, by its group L1, to any widths, until as many
multiply-accumulates are left. Beside what it leaves stand its batch norms estimated
anew on the same images, as our --recover bn does it: the weights at hand have their
norms folded, which statistics in training mode would not survive. One thread. Writes
benchmarks/results/pruning_recovery.json; 1 if our drop is more than half of theirs.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch_pruning
from int8_accuracy import SILENT, opened
from pruning_speed import peer
from torch import Tensor, nn

from compress.context.context import RunContext
from compress.data.calibration import batches_of, chosen_images
from compress.data.dataset import find
from compress.data.spec import DataSpec
from compress.evaluation.costs import accuracy, count_macs
from compress.pruning.graph import groups_of
from compress.pruning.group import Place
from compress.pruning.layout import Layout
from compress.pruning.recover import renormalized
from compress.recipe.prune import Prune
from runtime.machine import this_machine

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEPRESS_SHARED") or HERE.parents[1] / "shared" / "data")
RESULT = HERE / "results" / "pruning_recovery.json"
NET = "mobilenet_v2"
WAYS = ("ours", "torch-pruning, L1", "torch-pruning, L1, batch norms")
GOAL = 0.5  # our drop, as a share of Torch-Pruning's


def numbered(net: nn.Module) -> nn.Module:
    """A copy whose norms say, as their means, which channels they have.

    No criterion of Torch-Pruning's looks at means, and it cuts them with the rest.
    """
    made = copy.deepcopy(net)
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = torch.arange(norm.num_features, dtype=torch.float32)
    return made


def left_by(cut: nn.Module, whole: nn.Module) -> dict[Place, Tensor]:
    """The channels of norms that are left of a numbered net; it gets its means back."""
    left: dict[Place, Tensor] = {}
    for name, norm in cut.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            channels = norm.running_mean.long()
            norm.running_mean = whole.get_submodule(name).running_mean[channels]
            left[name, "out"] = channels
    return left


class Contest:
    """The network, the images that judge it, and what each way to cut makes of it."""

    def __init__(self, folder: Path) -> None:
        """`folder` is for what the stage writes."""
        self.model = opened(NET, SHARED)
        self.size = self.model.preprocess.size
        self.context = RunContext(folder=folder, console=SILENT)
        judging = DataSpec(source=str(SHARED / "images/imagenet_val_a.zip"))
        self.data = find(judging, seed=0, console=SILENT, cache=self.context.cache)
        self.judging = self.data.images(self.model.preprocess)
        self.whole_macs = count_macs(self.model.net, size=self.size)
        self.whole_top1 = self.top1(self.model.net)

    def top1(self, net: nn.Module) -> float:
        """The share of right answers."""
        prepare = self.model.prepare
        return accuracy(lambda pixels: net(prepare(pixels)), self.judging).top1

    def ours(self, options: Prune) -> nn.Module:
        """What our stage leaves; every budget has a folder of its own."""
        context = self.context.within(f"{options.macs}", title="prune")
        context.folder.mkdir(parents=True)
        return options(self.model, self.data, context).net

    def theirs(self, options: Prune) -> nn.Module:
        """What Torch-Pruning leaves, once, as it is."""
        return self._theirs(options)[0]

    def theirs_renormalized(self, options: Prune) -> nn.Module:
        """The same with norms estimated anew on the images that ours recovers on."""
        shown = chosen_images(
            self.data,
            self.model.preprocess,
            self.context,
            source=options.calib,
            count=options.calib_images,
        )
        cut, left = self._theirs(options)
        return renormalized(cut, self.model.net, left, batches_of(self.model, shown))

    def _theirs(self, options: Prune) -> tuple[nn.Module, dict[Place, Tensor]]:
        """What Torch-Pruning leaves, and which channels these are."""
        net = self.model.net
        layout = Layout(net, groups_of(net, size=self.size, name=NET), size=self.size)
        cut = peer(
            numbered(net),
            layout,
            options.macs * self.whole_macs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
            round_to=None,
        )
        return cut.eval(), left_by(cut, net)

    def measured(self, by: str, options: Prune) -> dict[str, object]:
        """One way to cut."""
        way = {
            "ours": self.ours,
            "torch-pruning, L1": self.theirs,
            "torch-pruning, L1, batch norms": self.theirs_renormalized,
        }[by]
        started = time.monotonic()
        net = way(options)
        seconds = time.monotonic() - started
        top1 = self.top1(net)
        return {
            "macs_asked": options.macs,
            "by": by,
            "macs_left": round(count_macs(net, size=self.size) / self.whole_macs, 4),
            "top1": round(top1, 4),
            "drop": round(self.whole_top1 - top1, 4),
            "seconds": round(seconds, 1),
        }


def missed(rows: Sequence[dict[str, object]]) -> list[str]:
    """Which goals we miss, as sentences."""
    drops = {(row["macs_asked"], row["by"]): row["drop"] for row in rows}
    return [
        f"{macs:.0%} of the MACs: our drop is {drop:.1%}, Torch-Pruning's {theirs:.1%}"
        for (macs, by), drop in drops.items()
        if by == "ours" and drop > GOAL * (theirs := drops[macs, WAYS[1]])
    ]


def main() -> int:
    """Cut by every way to every budget; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--macs", default="0.9,0.8")
    parser.add_argument("--images", type=int, default=256, help="to recover on")
    parser.add_argument("--criterion", default="reconstruction")
    parser.add_argument("--round-to", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(Path(folder))
        for macs in map(float, options.macs.split(",")):
            asked = Prune(
                macs=macs,
                criterion=options.criterion,
                round_to=options.round_to,
                steps=options.steps,
                step_epochs=0,
                epochs=0,
                calib=str(SHARED / "images/imagenet_sample_short256.zip"),
                calib_images=options.images,
            )
            for by in WAYS:
                rows.append(contest.measured(by, asked))
                print(json.dumps(rows[-1]), flush=True)
    record = {
        "net": NET,
        "machine": this_machine().as_record(),
        "whole_top1": round(contest.whole_top1, 4),
        "judged_on": len(contest.judging),
        "options": asked.model_dump(include={"criterion", "round_to", "steps"}),
        "recovered_on": options.images,
        "rows": rows,
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for each in missed(rows):
        print(each)
    return 1 if missed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
