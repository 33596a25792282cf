"""What does training on INT8 grids recover? Float, rounded, and trained, side by side.

    python benchmarks/int8_training.py [--net NAME ...] [--data ZIP] [--epochs 2]

Each network is trained in float on 10,000 CIFAR-10 images first (kept under --out, so
that the next run finds it), then rounded on 256 calibration images, then trained on its
grids with its float self as teacher. Judged on 5,000 test images. "kernels" is the
integer arithmetic that files run, "grids" the network that was trained; they should
agree. Adds to benchmarks/results/int8_training.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from compress.context.context import RunContext
from compress.data.batches import evaluation_batches
from compress.data.calibration import batches_of, calibration_images
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.models.checkpoint import load_model
from compress.models.model import Model
from compress.quantization.evaluator import AccuracyReport, evaluator_of
from compress.quantization.qat_training import learnt, prepared
from compress.recipe.qat import Qat
from compress.training.resume import forget_state

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEPRESS_SHARED") or HERE.parents[1] / "shared" / "data")
RESULT = HERE / "results" / "int8_training.json"
NETS = ("mobilenetv3_large_100", "efficientnet_b0", "tf_efficientnet_lite0")
SIDE_PIXELS = 32


def float_model(name: str, options: argparse.Namespace) -> Model:
    """The network in float32, trained by the command line, or found where it was."""
    folder = options.out / name
    if not (folder / "report.json").is_file():
        command = [sys.executable, "-m", "compress", "finetune", "--model", name]
        command += ["--stem", "small", "--data", options.data, "--quiet"]
        command += ["--image-size", SIDE_PIXELS, "--train-images", options.images]
        command += ["--batch-size", 64, "--epochs", options.float_epochs]
        command += ["--threads", 1, "--out", folder]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return load_model(folder / "01-finetune")


def points(verdict: AccuracyReport) -> float:
    """Top-1 accuracy in points."""
    return round(100 * (verdict.accuracy or 0.0), 2)


def row(verdict: AccuracyReport, seconds: float | None = None) -> dict[str, object]:
    """One network's figures, in points and decibels."""
    found: dict[str, object] = {
        "top1": points(verdict),
        "flips": round(100 * verdict.flips, 2),
        "sqnr_db": round(verdict.sqnr_db, 1),
    }
    return found if seconds is None else found | {"seconds": round(seconds)}


def measured(
    name: str, data: Catalog, context: RunContext, options: argparse.Namespace
) -> Mapping[str, object]:
    """Train one network in float and on its grids; judge every step of it."""
    model = float_model(name, options)
    opened = data.open(model.preprocess)
    held_out = data.images(model.preprocess)

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in evaluation_batches(held_out, 128):
            yield model.prepare(batch.pixels), batch.labels

    judge = evaluator_of(model.net, shown, labels_fit=True)
    images = calibration_images(model, data, context, source=None, count=256)
    fields = {"epochs": options.epochs, "lsq": options.lsq}
    stage = Qat.model_validate(fields | options.more)
    net = prepared(model, batches_of(model, images), stage)
    rounded = judge(net.quantized())
    here = replace(context, folder=context.folder / name / options.title)
    started = time.monotonic()
    trained = learnt(model, net, opened, here, stage)
    seconds = time.monotonic() - started
    forget_state(here.folder)
    made = judge(trained.quantized())
    return {
        "net": name,
        "options": fields | options.more,
        "float": row(judge.float32),
        "rounded": row(rounded),
        "grids": row(judge(trained.eval())),
        "kernels": row(made, seconds),
        "drop": round(points(judge.float32) - points(made), 2),
    }


def main() -> None:
    """Measure each network; keep what earlier runs of others found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", nargs="+", default=NETS)
    parser.add_argument(
        "--data", default=SHARED / "images/cifar10_jpeg_train50k_test5k.zip"
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--float-epochs", type=int, default=12)
    parser.add_argument("--lsq", action="store_true")
    parser.add_argument(
        "--more", type=json.loads, default={}, help="other options of qat, as JSON"
    )
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "qat")
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = [f"{key}={value}" for key, value in options.more.items()]
    options.title = "-".join(["qat", *(["lsq"] if options.lsq else []), *words])
    context = RunContext(folder=options.out, title="qat")
    spec = DataSpec(
        source=str(options.data), size=SIDE_PIXELS, train_images=options.images
    )
    data = find(spec, seed=context.seed, console=context.console, cache=context.cache)
    rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
    for name in options.net:
        found = measured(name, data, context, options)
        print(json.dumps(found), flush=True)
        known = [found["net"], found["options"]]
        rows = [each for each in rows if [each["net"], each["options"]] != known]
        rows.append(found)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
