"""What INT8 changes in MobileNetV2's answers: ours beside ONNX Runtime's and NNCF's.

usage: python benchmarks/int8_accuracy.py --shared DIR [--images 650] [--ours a,b]
       [--peers minmax,entropy,nncf] [--calibration 256] [--out FILE]

Real weights and images lie in DIR (see README, "Data"). Each way runs in a process of
its own, one thread, so that its seconds and its peak memory are its own; seconds count
the quantisation, not the reading of images. "Flips" are answers that differ from
float32's on the held-out images.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor

from compress.data.catalogue import find
from compress.data.spec import DataSpec
from compress.int8.calibration import batches_of
from compress.int8.capture import captured
from compress.int8.nncf_engine import nncf_quantised
from compress.int8.ptq import DEFAULT, Methods, quantised
from compress.int8.rewrites import canonical_
from compress.int8.rules import pixel_levels
from compress.models.build import build
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.screen import Screen
from runtime.machine import this_machine

WEIGHTS = "weights/derived_mobilenet_v2_torchvision_keys.pt"
OURS = {
    "default": DEFAULT,
    "not equalised": Methods(equalise=False),
    "learned rounding": Methods(learn_rounding=True),
    "mean of min-max": Methods(ranges="mean", correct_bias=False),
}
PEERS = ("minmax", "entropy", "nncf")


def opened(shared: Path) -> Model:
    """MobileNetV2 with its published weights."""
    spec = ModelSpec(name="mobilenet_v2", weights=str(shared / WEIGHTS))
    return build(spec, classes=None, native_size=None, seed=0, screen=SILENT)


def shown(model: Model, source: Path, count: int) -> Callable[[], Iterator[Tensor]]:
    """`count` images of an archive, evenly spread, as the network takes them."""
    cache = Path(tempfile.gettempdir()) / "edgepress-benchmarks"
    found = find(DataSpec(source=str(source)), seed=0, screen=SILENT, cache=cache)
    images = found.images(model.preprocess)
    rows = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    few = replace(images, pixels=images.pixels[rows], labels=images.labels[rows])
    return batches_of(model, few)


def answers(net: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> Tensor:
    """Logits [n, classes]."""
    with torch.inference_mode():
        return torch.cat([net(batch) for batch in images])


def of_file(path: Path) -> Callable[[Tensor], Tensor]:
    """What ONNX Runtime answers, image by image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def answer(batch: Tensor) -> Tensor:
        rows = [
            session.run(None, {name: image[None].contiguous().numpy()})[0]
            for image in batch
        ]
        return torch.from_numpy(np.concatenate(rows))

    return answer


def by_peer(
    peer: str, model: Model, calibration: Callable[[], Iterator[Tensor]], folder: Path
) -> tuple[Path, float]:
    """A peer's file and the seconds it took."""
    plain, made = folder / "float.onnx", folder / "int8.onnx"
    side = model.preprocess.size
    torch.onnx.export(
        model.net.eval(),
        (torch.zeros(1, 3, side, side),),
        plain,
        dynamo=True,
        opset_version=18,
        external_data=False,
        verbose=False,
    )
    batches = [batch.clone() for batch in calibration()]
    if peer == "nncf":
        started = time.monotonic()
        nncf_quantised(plain, made, lambda: iter(batches))
        return made, time.monotonic() - started
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        """Gives one image at a time."""

        def __init__(self, name: str) -> None:
            self.left = iter([image[None] for batch in batches for image in batch])
            self.name = name

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {self.name: image.contiguous().numpy()}

    import onnx

    name = onnx.load(plain).graph.input[0].name
    started = time.monotonic()
    quant_pre_process(plain, folder / "prepared.onnx")
    quantize_static(
        folder / "prepared.onnx",
        made,
        Reader(name),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(
            CalibrationMethod, {"minmax": "MinMax", "entropy": "Entropy"}[peer]
        ),
    )
    return made, time.monotonic() - started


def measured(way: str, options: argparse.Namespace) -> dict[str, object]:
    """One way to quantise, in this process."""
    shared = Path(options.shared)
    model = opened(shared)
    calibration = shown(
        model, shared / "images/imagenet_sample_short256.zip", options.calibration
    )
    held_out = shown(model, shared / "images/imagenet_val_a.zip", options.images)
    graph = captured(model.net, size=model.preprocess.size, name="mobilenet_v2")
    canonical_(graph)
    with tempfile.TemporaryDirectory() as folder:
        if way in OURS:
            levels = pixel_levels(model.preprocess.mean, model.preprocess.std)
            started = time.monotonic()
            net: Callable[[Tensor], Tensor] = quantised(
                graph, calibration, methods=OURS[way], levels=levels
            )
            seconds = time.monotonic() - started
        else:
            file, seconds = by_peer(way, model, calibration, Path(folder))
            net = of_file(file)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        have, want = answers(net, held_out()), answers(graph, held_out())
    noise = (have - want).square().sum()
    flips = int((have.argmax(dim=1) != want.argmax(dim=1)).sum())
    return {
        "way": way,
        "flips": flips,
        "flips_share": flips / len(want),
        "sqnr_db": float(10 * torch.log10(want.square().sum() / noise)),
        "seconds": round(seconds, 2),
        "peak_bytes": peak,
    }


def main() -> None:
    """Run every way in a process of its own and print, and keep, what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", required=True)
    parser.add_argument("--images", type=int, default=650)
    parser.add_argument("--calibration", type=int, default=256)
    parser.add_argument("--ours", default="default,mean of min-max")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--out")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.way:
        print("RESULT " + json.dumps(measured(options.way, options)))
        return
    rows = []
    for way in filter(None, f"{options.ours},{options.peers}".split(",")):
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        line = next(x for x in ran.stdout.splitlines() if x.startswith("RESULT "))
        rows.append(json.loads(line.removeprefix("RESULT ")))
        print(json.dumps(rows[-1]), flush=True)
    record = {
        "machine": this_machine().as_record(),
        "images": options.images,
        "calibration": options.calibration,
        "rows": rows,
    }
    if options.out:
        Path(options.out).write_text(json.dumps(record, indent=2) + "\n")


SILENT = Screen(verbosity="quiet")

if __name__ == "__main__":
    main()
