"""What INT8 changes in the answers of networks with real weights: ours beside peers'.

usage: python benchmarks/int8_accuracy.py --shared DIR [--net mobilenet_v2] [--out FILE]
       [--images 650] [--ours a,b] [--peers minmax,entropy,nncf] [--calibration 256]

Real weights and images lie in DIR (see README, "Data"). Each way runs in a process of
its own on one core, whatever threads it starts, so that its seconds and its peak memory
are its own; seconds count the quantization, not the reading of images. "Flips" are
answers that differ from float32's on the held-out images. On a CPU that adds signed
products within 16 bits a peer's file would be judged by that CPU, so peers' files are
also asked with their Q and DQ left as they are, computed in float: "exact". "speed":
float32's latency over the file's, in ONNX Runtime, taken in turn, 10th percentiles.
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
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import torch
from int8_speed import race
from safetensors.torch import save_file
from torch import Tensor

from compress.context.console import Console
from compress.data.calibration import batches_of
from compress.data.dataset import find
from compress.data.spec import DataSpec
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.rules import pixel_levels
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.models.build import build
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.models.state import load_state
from compress.quantization.ptq import DEFAULT, Methods, quantized
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.preprocess import IMAGENET_MEAN, IMAGENET_STD
from runtime.target import int8_target

# Caffe's mean of ImageNet's pixels, in RGB; SqueezeNet's published weights want it.
CAFFE_MEAN_RGB = (123.0, 117.0, 104.0)
OURS = {
    "default": DEFAULT,
    "not equalized": Methods(equalize=False),
    "learned rounding": Methods(learn_rounding=True),
    "mean of min-max": Methods(ranges="mean", correct_bias="none"),
}
PEERS = ("minmax", "entropy", "nncf")
ROUNDS = 60


def mobilenet_v2(shared: Path, folder: Path) -> ModelSpec:
    """MobileNetV2 of torchvision."""
    del folder
    weights = shared / "weights/derived_mobilenet_v2_torchvision_keys.pt"
    return ModelSpec(name="mobilenet_v2", weights=str(weights))


def squeezenet(shared: Path, folder: Path) -> ModelSpec:
    """SqueezeNet 1.0, its first layer translated from Caffe's BGR pixels, 0 to 255.

    That layer has no padding, so the change of units folds into it exactly.
    """
    file = "weights/derived_squeezenet1_0_deepcompression_torchvision_keys.pt"
    state = load_state(shared / file)
    std, mean, caffe = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (IMAGENET_STD, IMAGENET_MEAN, CAFFE_MEAN_RGB)
    )
    weight = state["features.0.weight"].flip(1)
    state["features.0.bias"] += (weight * (255 * mean - caffe)).sum(dim=(1, 2, 3))
    state["features.0.weight"] = weight * 255 * std
    weights = folder / "squeezenet.safetensors"
    save_file(state, weights)
    return ModelSpec(name="squeezenet1_0", weights=str(weights))


def keras_mobilenet(shared: Path, folder: Path) -> ModelSpec:
    """MobileNetV1 0.25, a Keras 2 file."""
    del folder
    return ModelSpec(name=f"{shared / 'weights/mobilenet_v1_0.25_224.h5'}:signed")


NETS = {
    "mobilenet_v2": mobilenet_v2,
    "squeezenet1_0": squeezenet,
    "keras_mobilenet_v1": keras_mobilenet,
}


def opened(net: str, shared: Path) -> Model:
    """A network with its published weights."""
    with tempfile.TemporaryDirectory() as folder:
        spec = NETS[net](shared, Path(folder))
        return build(spec, classes=None, native_size=None, seed=0, console=SILENT)


def shown(model: Model, source: Path, count: int) -> Callable[[], Iterator[Tensor]]:
    """`count` images of an archive, evenly spread, as the network takes them."""
    cache = Path(tempfile.gettempdir()) / "edgepress-benchmarks"
    found = find(DataSpec(source=str(source)), seed=0, console=SILENT, cache=cache)
    images = found.images(model.preprocess)
    rows = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return batches_of(model, images.taken(rows))


def answers(net: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> Tensor:
    """Logits [n, classes]."""
    with torch.inference_mode():
        return torch.cat([net(batch) for batch in images])


def of_file(path: Path, *, exact: bool = False) -> Callable[[Tensor], Tensor]:
    """What ONNX Runtime answers, image by image; exact: Q and DQ computed in float."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if exact:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
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
        import nncf

        model = onnx.load(plain)
        name = model.graph.input[0].name
        single = [image[None] for batch in batches for image in batch]
        shown = nncf.Dataset(single, lambda one: {name: one.contiguous().numpy()})
        started = time.monotonic()
        onnx.save(nncf.quantize(model, shown, subset_size=len(single)), made)
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


def our_file(net: QuantizedNet, model: Model, folder: Path) -> Path:
    """Our ONNX file, lowered for this machine."""
    graph = with_qdq(net.graph, net.scheme)
    made = qdq_model(graph, size=model.preprocess.size, name="ours", batch="static")
    onnx.save(lowered(made, int8_target(this_machine())), folder / "ours.onnx")
    return folder / "ours.onnx"


def speed(file: Path, model: Model, folder: Path) -> float:
    """Float32's latency over that of `file`, taken in turn."""
    side = model.preprocess.size
    plain = qdq_model(model.net, size=side, name="float", batch="static")
    onnx.save(plain, folder / "plain.onnx")
    latencies = race({"float": folder / "plain.onnx", "int8": file}, ROUNDS)
    return latencies["float"] / latencies["int8"]


def judged(have: Tensor, want: Tensor) -> dict[str, float]:
    """How far answers [n, classes] are from float32's."""
    noise = (have - want).square().sum()
    flips = int((have.argmax(dim=1) != want.argmax(dim=1)).sum())
    return {
        "flips": flips,
        "flips_share": round(flips / len(want), 4),
        "sqnr_db": round(float(10 * torch.log10(want.square().sum() / noise)), 2),
    }


def measured(way: str, options: argparse.Namespace) -> dict[str, object]:
    """One way to quantize, in this process."""
    shared = Path(options.shared)
    model = opened(options.net, shared)
    calibration = shown(
        model, shared / "images/imagenet_sample_short256.zip", options.calibration
    )
    held_out = shown(model, shared / "images/imagenet_val_a.zip", options.images)
    graph = captured(model.net, size=model.preprocess.size, name=options.net)
    canonical_(graph)
    exact: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if way in OURS:
            mean, std = model.preprocess.mean, model.preprocess.std
            levels = pixel_levels(mean, std)
            started = time.monotonic()
            net = quantized(graph, calibration, methods=OURS[way], levels=levels)
            seconds, peak = time.monotonic() - started, peak_bytes()
            file = our_file(net, model, folder)
        else:
            file, seconds = by_peer(way, model, calibration, folder)
            peak = peak_bytes()
        if options.images == 0:
            return {"way": way, "seconds": round(seconds, 2), "peak_bytes": peak}
        want = answers(graph, held_out())
        if way not in OURS:
            exact = judged(answers(of_file(file, exact=True), held_out()), want)
        found = judged(answers(of_file(file), held_out()), want)
        ratio = round(speed(file, model, folder), 3)
    return {
        "way": way,
        **found,
        "exact": exact or found,
        "speed": ratio,
        "seconds": round(seconds, 2),
        "peak_bytes": peak,
    }


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run every way in a process of its own and print, and keep, what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", required=True)
    parser.add_argument("--net", choices=tuple(NETS), default="mobilenet_v2")
    parser.add_argument("--images", type=int, default=650, help="0: only time it")
    parser.add_argument("--calibration", type=int, default=256)
    parser.add_argument("--ours", default="default,mean of min-max")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--out")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.way:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
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
        "net": options.net,
        "machine": this_machine().as_record(),
        "images": options.images,
        "calibration": options.calibration,
        "rows": rows,
    }
    if options.out:
        Path(options.out).write_text(json.dumps(record, indent=2) + "\n")


SILENT = Console(verbosity="quiet")

if __name__ == "__main__":
    main()
