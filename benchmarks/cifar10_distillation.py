"""Does a teacher help? ResNet-20 on CIFAR-10, taught and alone, at the same budget.

    python benchmarks/cifar10_distillation.py [--seeds 3] [--images 10000] [--epochs 8]

The teacher is the published ResNet-32 checkpoint, fine-tuned on the same JPEG copy of
CIFAR-10. Each seed draws its own subset, start, order and augmentations; both students
of a seed share all of them. Writes benchmarks/results/cifar10_distillation.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEPRESS_SHARED") or HERE.parents[1] / "shared" / "data")
RESULT = HERE / "results" / "cifar10_distillation.json"


def compress(*words: object) -> dict[str, object]:
    """Run the command line and give its JSON answer; it resumes if stopped."""
    command = [sys.executable, "-m", "compress", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def top1(report: dict[str, object], stage: str) -> float:
    """The accuracy of one row of a report, a fraction."""
    return next(row["top1"] for row in report["rows"] if row["stage"] == stage)  # type: ignore[attr-defined]


def summary(values: list[float]) -> str:
    """Mean and spread, in points."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.fmean(values):5.2f} +- {100 * spread:.2f}"


def main() -> None:
    """Fine-tune the teacher once, then both students for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "cifar10"
    )
    options = parser.parse_args()
    data = ["--data", SHARED / "images/cifar10_jpeg_train50k_test5k.zip"]
    data += ["--train-images", options.images, "--batch-size", 128]
    teacher = options.out / "teacher"
    weights = SHARED / "weights/cifar10_resnet32-d509ac18.th"
    tuned = compress(
        "finetune", "--model", "cifar_resnet32", "--weights", weights, *data,
        "--epochs", 3, "--learning-rate", 0.01, "--out", teacher,
    )  # fmt: skip
    seeds = []
    for seed in range(options.seeds):
        report = compress(
            "distill", "--teacher", teacher, "--student", "cifar_resnet20", *data,
            "--epochs", options.epochs, "--baseline", "--seed", seed,
            "--out", options.out / f"seed{seed}",
        )  # fmt: skip
        seeds.append(
            {
                "seed": seed,
                "taught": top1(report, "distill"),
                "alone": top1(report, "alone"),
            }
        )
        print(seeds[-1], flush=True)
    taught = [float(seed["taught"]) for seed in seeds]
    alone = [float(seed["alone"]) for seed in seeds]
    gains = [a - b for a, b in zip(taught, alone, strict=True)]
    result = {
        "images": options.images,
        "epochs": options.epochs,
        "teacher_before": top1(tuned, "start"),
        "teacher": top1(tuned, "finetune"),
        "seeds": seeds,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{options.images} training images, {options.epochs} epochs, 5000 test images"
    )
    print(f"teacher ResNet-32   {100 * top1(tuned, 'finetune'):5.2f}")
    print(f"ResNet-20 taught    {summary(taught)}")
    print(f"ResNet-20 alone     {summary(alone)}")
    print(f"difference          {summary(gains)}")


if __name__ == "__main__":
    main()
