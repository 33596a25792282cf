"""Speed of our INT8 files against float32 and ONNX Runtime's own quantizer, in one run.

usage: python benchmarks/int8_speed.py [--nets resnet18,…] [--rounds 40] [--out FILE]

Weights are random: kernels take as long with any. Each net is written three times: in
float, by onnxruntime.quantization.quantize_static (uint8 activations, int8 weights per
channel, after its own pre-processing), and by us (calibrated on the same images, placed
by measured latency). The three run in turn, one thread, one image; a ratio is float's
latency over a file's, both as 10th percentiles, which other programs disturb least.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import torch

from compress.context.vision import timm
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.plan import planned
from compress.int8.regions import cuts, gates
from compress.int8.simulate import with_qdq
from compress.quantization.calibrate import scheme_of, seen_ranges
from export.onnx.lower import float_left, int8_macs_fraction, lowered
from export.onnx.lowering.regions import floated, opener
from export.placement import placed
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.session import open_session
from runtime.target import int8_target
from runtime.timing import timed

SIZE = 224
IMAGES = 4
# net: speed over float32 that we promise on a machine with VNNI
GOALS = {
    "resnet18": 2.9,
    "resnet50": 2.9,
    "mobilenetv2_100": 1.9,
    "tf_efficientnet_lite0": 1.9,
    "mobilenetv3_large_100": 1.3,
    "efficientnet_b0": 1.2,
}


def images(seed: int = 0) -> torch.Tensor:
    """Noise to calibrate on."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(IMAGES, 3, SIZE, SIZE, generator=generator)


def graphs(name: str) -> tuple[torch.fx.GraphModule, onnx.ModelProto, onnx.ModelProto]:
    """The net as a graph, in float, and with Q and DQ."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    graph = captured(net, size=SIZE, name=name)
    canonical_(graph)
    plan = planned(graph)
    seen = seen_ranges(graph, plan, lambda: [images()])
    scheme = scheme_of(graph, plan, seen, "minmax")
    return (
        graph,
        qdq_model(net, size=SIZE, name=name, batch="static"),
        qdq_model(with_qdq(graph, scheme), size=SIZE, name=name, batch="static"),
    )


def peer(float_file: Path, folder: Path) -> Path:
    """What ONNX Runtime's own static quantization makes of the float file."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """The same images, one at a time."""

        def __init__(self) -> None:
            self.left = [{"image": each[None].numpy()} for each in images()]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    prepared, made = folder / "prepared.onnx", folder / "peer.onnx"
    quant_pre_process(str(float_file), str(prepared))
    quantize_static(
        str(prepared),
        str(made),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return made


def race(files: Mapping[str, Path], rounds: int) -> dict[str, float]:
    """Latencies in ms, taken in turn."""
    rng = np.random.default_rng(0)
    calls: list[Callable[[], object]] = []
    for path in files.values():
        session = open_session(path, threads=1)
        shape = session.input_shape
        calls.append(session.bind(rng.standard_normal(shape, dtype=np.float32)))
    order = rng.permuted(np.tile(np.arange(len(calls)), (rounds, 1)), axis=1)
    samples = np.zeros((len(calls), rounds), np.int64)
    for call in calls:
        call()
    timed(calls, order, samples)
    fastest = np.percentile(samples, 10, axis=1) / 1e6
    return dict(zip(files, fastest.tolist(), strict=True))


def measured(name: str, rounds: int, folder: Path) -> dict[str, object]:
    """One row of the table."""
    graph, float_model, qdq = graphs(name)
    files = {each: folder / f"{each}.onnx" for each in ("float", "peer", "ours")}
    onnx.save(float_model, files["float"])
    files["peer"] = peer(files["float"], folder)
    target = int8_target(this_machine())
    began = time.perf_counter()
    found = placed(
        opener(qdq, float_model, target),
        cuts=cuts(graph),
        gates=gates(graph),
        rng=np.random.default_rng(0),
    )
    seconds = time.perf_counter() - began
    onnx.save(lowered(qdq, target), folder / "whole.onnx")
    files["whole"] = folder / "whole.onnx"
    onnx.save(lowered(floated(qdq, found.left_float), target), files["ours"])
    latencies = race(files, rounds)
    return {
        "net": name,
        "target": target.name,
        "latency_ms": {key: round(each, 3) for key, each in latencies.items()},
        "ratio": {
            key: round(latencies["float"] / each, 3) for key, each in latencies.items()
        },
        "goal": GOALS[name],
        "placement": found.as_text(),
        "placement_seconds": round(seconds),
        "int8_macs_fraction": round(int8_macs_fraction(files["ours"]), 4),
        "float_layers_of_the_whole": list(float_left(files["whole"])),
    }


def main() -> int:
    """Measure each net; 1 if one misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", default=",".join(GOALS))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    print("net                     float ms   peer   whole   ours   goal")
    for name in options.nets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            row = measured(name, options.rounds, Path(folder))
        rows.append(row)
        ratio, times = row["ratio"], row["latency_ms"]
        print(
            f"{name:23} {times['float']:8.2f} {ratio['peer']:6.2f} "
            f"{ratio['whole']:7.2f} {ratio['ours']:6.2f} {row['goal']:6.1f}   "
            f"{row['placement']}",
            flush=True,
        )
    if options.out:
        record = {"machine": this_machine().as_record(), "nets": rows}
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    missed = [row["net"] for row in rows if row["ratio"]["ours"] < row["goal"]]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
