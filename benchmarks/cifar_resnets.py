"""The published CIFAR ResNets, as benchmarks begin with them, and our command line.

They are fine-tuned on the JPEG copy of CIFAR-10 first, on a seeded subset of its
training images, since they were trained on other pixels.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEPRESS_SHARED") or HERE.parents[1] / "shared" / "data")
WEIGHTS = {
    "cifar_resnet20": "cifar10_resnet20-12fca82f.th",
    "cifar_resnet32": "cifar10_resnet32-d509ac18.th",
}


def compress(*words: object) -> Mapping[str, Any]:
    """Run the command line and give its JSON answer; it resumes if stopped."""
    command = [sys.executable, "-m", "compress", *map(str, words), "--quiet", "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


def data_flags(images: int) -> Sequence[object]:
    """Flags for so many training images, batches of 128, one thread."""
    source = SHARED / "images/cifar10_jpeg_train50k_test5k.zip"
    flags = ["--data", source, "--train-images", images]
    return [*flags, "--batch-size", 128, "--threads", 1]


def fine_tune(net: str, *, images: int, epochs: int, folder: Path) -> None:
    """Some epochs from the published weights, in `folder`; at once if it is done."""
    compress(
        "finetune", "--model", net, "--weights", SHARED / "weights" / WEIGHTS[net],
        *data_flags(images), "--epochs", epochs, "--learning-rate", 0.01,
        "--out", folder,
    )  # fmt: skip
