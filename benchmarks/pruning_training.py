"""What half of the multiply-accumulates costs a CIFAR ResNet once it is trained again.

usage: python benchmarks/pruning_training.py [--net cifar_resnet20] [--images 10000]
       [--dense-epochs 5] [--epochs 8] [--seeds 0,1,2] [--macs 0.5] [--arms ours …]

The published checkpoint is fine-tuned on the JPEG copy of CIFAR-10 first, on a seeded
subset, and judged on 5,000 test images. Then it is cut to half of its work in two ways,
each trained for the same epochs on the same images: ours as `compress prune` does it
(least squares, then its whole self as teacher), and the smallest L1 norms of every
layer, one-shot, fine-tuned on labels. Adds to benchmarks/results/pruning_training.json.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from cifar_resnets import WEIGHTS, compress, data_flags, fine_tune

RESULT = Path(__file__).resolve().parent / "results" / "pruning_training.json"
ARMS: Mapping[str, Sequence[str]] = {
    "ours": ("--criterion", "reconstruction", "--scope", "global"),
    "l1 one-shot": (
        *("--criterion", "l1", "--scope", "local"),
        *("--recover", "none", "--distill", "0"),
    ),
}
GOAL_LOST, GOAL_AHEAD = 1.0, 0.5  # points


def main() -> None:
    """Fine-tune once, then every arm from every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=WEIGHTS, default="cifar_resnet20")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--dense-epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "pruning-training"
    )
    options = parser.parse_args()
    dense = options.out / options.net
    fine_tune(
        options.net, images=options.images, epochs=options.dense_epochs, folder=dense
    )
    rows = []
    for seed in map(int, options.seeds.split(",")):
        for arm in options.arms:
            out = f"{options.net}-{arm.replace(' ', '-')}-{options.macs}-{seed}"
            report = compress(
                "prune", "--model", dense, *data_flags(options.images),
                *ARMS[arm], "--macs", options.macs,
                "--epochs", options.epochs, "--learning-rate", 0.02, "--round-to", 4,
                "--seed", seed, "--out", options.out / out,
            )  # fmt: skip
            whole, cut = report["rows"]
            rows.append(
                {
                    "net": options.net,
                    "arm": arm,
                    "seed": seed,
                    "images": options.images,
                    "epochs": [options.dense_epochs, options.epochs],
                    "macs": round(cut["macs"] / whole["macs"], 4),
                    "top1": [whole["top1"], cut["top1"]],
                    "lost_points": round(100 * (whole["top1"] - cut["top1"]), 2),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
    new = {_run_of(row) for row in rows}
    kept = [each for each in kept if _run_of(each) not in new]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(kept + rows, indent=2) + "\n", encoding="utf-8")
    lost = {
        arm: mean(row["lost_points"] for row in rows if row["arm"] == arm)
        for arm in options.arms
    }
    for arm, points in lost.items():
        print(f"{arm} loses {points:.2f} points")
    print(f"goals: ours at most {GOAL_LOST}, and {GOAL_AHEAD} fewer than L1 one-shot")


def _run_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """What makes two rows the same measurement."""
    return tuple(
        map(str, (row[key] for key in ("net", "arm", "seed", "images", "epochs")))
    )


if __name__ == "__main__":
    main()
