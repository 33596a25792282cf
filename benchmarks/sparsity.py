"""What zeros cost and what they save: ResNet-20 on CIFAR-10, 80 % zeros and 2:4.

    python benchmarks/sparsity.py [--images 10000] [--dense-epochs 5]
           [--epochs 10] [--only sparsity-0.8]

The published ResNet-20 checkpoint is fine-tuned on the JPEG copy of CIFAR-10 first, on
a seeded subset, and judged on 5,000 test images; then it is sparsified with its dense
self as teacher, on the same subset. Files are packed by gzip and timed in the same run.
Adds to benchmarks/results/sparsity.json.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cifar_resnets import compress, data_flags, fine_tune

RESULT = Path(__file__).resolve().parent / "results" / "sparsity.json"
# What is asked for, how it is trained, and the points of top-1 that it may cost.
CASES = {
    "sparsity-0.8": (["--sparsity", 0.8, "--thin-until", 0.3], 0.02, 1.0),
    "pattern-2:4": (["--pattern", "2:4", "--schedule", "one-shot"], 0.01, 0.5),
}


def top1(report: Mapping[str, Any]) -> list[float]:
    """The accuracy of every row of a report, fractions."""
    return [float(str(row["top1"])) for row in report["rows"]]


def main() -> None:
    """Fine-tune once, then every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--dense-epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "sparsity"
    )
    options = parser.parse_args()
    dense = options.out / "dense"
    fine_tune(
        "cifar_resnet20",
        images=options.images,
        epochs=options.dense_epochs,
        folder=dense,
    )
    rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
    for name in options.only:
        asked, rate, allowed = CASES[name]
        report = compress(
            "sparsify", "--model", dense, *data_flags(options.images),
            *asked, "--epochs", options.epochs,
            "--learning-rate", rate, "--out", options.out / name.replace(":", "-"),
        )  # fmt: skip
        before, after = top1(report)
        found = {
            "case": name,
            "images": options.images,
            "epochs": [options.dense_epochs, options.epochs],
            "top1": [before, after],
            "lost_points": round(100 * (before - after), 2),
            "allowed_points": allowed,
            "zeros": report["sparsity"]["zeros"] / report["sparsity"]["weights"],
            "size_bytes": [each["size_bytes"] for each in report["artifacts"]],
            "gzip_bytes": [each["gzip_bytes"] for each in report["artifacts"]],
            "p50_ms": {each["role"]: each["p50_ms"] for each in report["measurements"]},
        }
        print(json.dumps(found), flush=True)
        rows = [each for each in rows if each["case"] != name] + [found]
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
