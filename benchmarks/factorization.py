"""How few parameters a trained VGG's classifier needs to go on answering alike.

    python benchmarks/factorization.py [--images 10000] [--epochs 6] [--energy 0.96]

A small VGG (benchmarks/small_vgg.py) is trained on CIFAR-10 images first and kept under
--out. Its classifier is split by energy and fitted to calibration images, not trained,
and compared with its dense self on 5,000 test images that neither has seen. Latencies
of both files are in the run's report. Writes benchmarks/results/factorization.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from cifar_resnets import SHARED, compress
from torch import Tensor

from compress.context.context import RunContext
from compress.data.batches import evaluation_batches
from compress.data.dataset import find
from compress.data.spec import DataSpec
from compress.models.checkpoint import load_model
from compress.models.model import Model

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "factorisation.json"
FACTORY = f"{HERE / 'small_vgg.py'}:small_vgg"


def answers(model: Model, options: argparse.Namespace) -> Tensor:
    """What a model says of the test images, [n, classes]."""
    spec = DataSpec(source=str(options.data), train_images=options.images)
    context = RunContext(folder=options.out)
    data = find(spec, seed=0, console=context.console, cache=context.cache)
    images = data.images(model.preprocess)
    with torch.inference_mode():
        found = [
            model.net(model.prepare(batch.pixels))
            for batch in evaluation_batches(images, 128)
        ]
    return torch.cat(found)


def params(model: Model) -> int:
    """How many numbers the classifier has."""
    parts = model.net.get_submodule("classifier").parameters()
    return sum(each.numel() for each in parts)


def main() -> None:
    """Train once, split, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default=SHARED / "images/cifar10_jpeg_train50k_test5k.zip"
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--energy", type=float, default=0.96)
    parser.add_argument("--calibration", type=int, default=2048)
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "factorisation"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    shared = ["--model-file", FACTORY, "--data", options.data, "--threads", 1]
    shared += ["--train-images", options.images]
    dense = options.out / "dense"
    split = options.out / f"split-{options.energy}-{options.calibration}"
    compress("finetune", *shared, "--epochs", options.epochs, "--out", dense)
    report = compress(
        "factorize", "--model", dense, *shared, "--energy", options.energy,
        "--layers", "classifier", "--calib-images", options.calibration,
        "--out", split,
    )  # fmt: skip
    before = load_model(dense / "01-finetune", factory=FACTORY)
    after = load_model(split / "01-factorize", factory=FACTORY)
    expected, found = answers(before, options), answers(after, options)
    same = (expected.argmax(1) == found.argmax(1)).float().mean()
    result = {
        "images": options.images,
        "epochs": options.epochs,
        "energy": options.energy,
        "calibration": options.calibration,
        "top1": [row["top1"] for row in report["rows"]],
        "classifier_params": [params(before), params(after)],
        "left": round(params(after) / params(before), 4),
        "agreement": round(float(same), 4),
        "layers": report["factorisation"]["layers"],
        "p50_ms": {each["role"]: each["p50_ms"] for each in report["measurements"]},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"classifier: {result['left']:.1%} of its parameters (goal: 25 %)")
    print(f"same answer on {result['agreement']:.2%} of 5,000 images (goal: 99 %)")
    print(f"top-1 {result['top1']}, latency {result['p50_ms']} ms")


if __name__ == "__main__":
    main()
