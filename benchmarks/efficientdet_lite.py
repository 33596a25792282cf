"""EfficientDet-Lite0 to 4 as TFLite files, float32 and int8, as they were published.

usage: python benchmarks/efficientdet_lite.py DIR [--nets 0,1,2,3,4]

Latencies of these networks on Raspberry Pis are published; their files cannot be had
here. effdet has the architectures (pip install --no-deps effdet omegaconf
antlr4-python3-runtime pycocotools); weights are random, kernels take as long with any.
INT8 is ai-edge-quantizer's (int8 activations, int8 weights per channel), because what
was published is TensorFlow's own and not ours. What automl's export appends, the
operator TFLite_Detection_PostProcess, is a file of its own here, `…_post_…`: its boxes
lie on a grid and all scores are 0, so that it costs what it costs without objects.
"""

import argparse
import logging
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from torch import Tensor, nn

import compress.context.vision  # noqa: F401  # before effdet imports torchvision

CLASSES = 90
ANCHORS = 9  # at each place
STRIDES = (8, 16, 32, 64, 128)
DETECTIONS = 100
F32, I8 = schema.TensorType.FLOAT32, schema.TensorType.INT8


class Heads(nn.Module):
    """Scores and boxes of all levels, as automl's graph joins them."""

    def __init__(self, net: nn.Module) -> None:
        """Wrap a network of effdet."""
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map [1, 3, size, size] to [1, anchors, 90] and [1, anchors, 4]."""
        levels = zip(self.net(image), (CLASSES, 4), strict=True)
        scores, boxes = (
            torch.cat(
                [each.permute(0, 2, 3, 1).reshape(1, -1, width) for each in side], 1
            )
            for side, width in levels
        )
        return scores.sigmoid(), boxes


def network(number: int) -> tuple[nn.Module, int]:
    """EfficientDet-Lite `number` and its input's size."""
    import effdet
    from effdet.efficientdet import FpnCombine

    def added(self: FpnCombine, inputs: list[Tensor]) -> Tensor:
        """Add what effdet stacks and sums: automl adds."""
        sides = zip(self.inputs_offsets, self.resample.values(), strict=True)
        first, *others = [resample(inputs[offset]) for offset, resample in sides]
        return sum(others, start=first)

    FpnCombine.forward = added
    config = effdet.get_efficientdet_config(f"tf_efficientdet_lite{number}")
    torch.manual_seed(0)
    net = effdet.EfficientDet(config, pretrained_backbone=False)
    return Heads(net).eval(), int(config.image_size[0])


def export(number: int, path: Path) -> int:
    """Write the float network, NHWC; give its size."""
    import litert_torch

    net, size = network(number)
    last = litert_torch.to_channel_last_io(net, args=[0])
    litert_torch.convert(last, (torch.zeros(1, size, size, 3),)).export(str(path))
    return size


def quantize(source: Path, path: Path, size: int) -> None:
    """Write the int8 network, calibrated on noise."""
    from ai_edge_quantizer import quantizer, recipe

    rng = np.random.default_rng(0)
    work = quantizer.Quantizer(str(source))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    signature = "serving_default"
    noise = rng.standard_normal((1, size, size, 3)).astype(np.float32)
    seen = work.calibrate({signature: [{"args_0": noise}]})
    work.quantize(seen).export_model(str(path), overwrite=True)


def post_process(path: Path, size: int, *, int8: bool) -> None:
    """Write what follows the network: fast non-maximum suppression of all boxes."""
    count = sum(ANCHORS * math.ceil(size / stride) ** 2 for stride in STRIDES)
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = b"main", [], []
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    model.buffers, model.operatorCodes = [schema.BufferT()], []

    def tensor(
        name: str, shape: tuple[int, ...], kind: int, data: np.ndarray | None = None
    ) -> int:
        """Add a tensor; give its number."""
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
        if data is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        if kind == I8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [1 / 256], [0]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
        """Add an operator of a code of its own."""
        made, named = schema.OperatorT(), schema.OperatorCodeT()
        # From version 2 on, DEQUANTIZE takes int8.
        named.builtinCode = code
        named.version = 1 + (code == schema.BuiltinOperator.DEQUANTIZE)
        named.deprecatedBuiltinCode = min(code, 127)
        made.opcodeIndex = len(graph.operators)
        made.inputs, made.outputs = inputs, outputs
        model.operatorCodes.append(named)
        graph.operators.append(made)
        return made

    shapes = {"boxes": (1, count, 4), "scores": (1, count, CLASSES)}
    graph.inputs = [tensor(k, v, I8 if int8 else F32) for k, v in shapes.items()]
    sides = graph.inputs
    if int8:
        sides = [tensor(f"{k}_float", v, F32) for k, v in shapes.items()]
        for source, side in zip(graph.inputs, sides, strict=True):
            made = operator(schema.BuiltinOperator.DEQUANTIZE, [source], [side])
            made.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
            made.builtinOptions = schema.DequantizeOptionsT()
    graph.outputs = [
        tensor("detections", (1, DETECTIONS, 4), F32),
        tensor("classes", (1, DETECTIONS), F32),
        tensor("best", (1, DETECTIONS), F32),
        tensor("number", (1,), F32),
    ]
    anchors = tensor("anchors", (count, 4), F32, grid(count))
    made = operator(schema.BuiltinOperator.CUSTOM, [*sides, anchors], graph.outputs)
    model.operatorCodes[-1].customCode = "TFLite_Detection_PostProcess"
    made.customOptions = np.frombuffer(post_process_options(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def grid(count: int) -> np.ndarray:
    """Boxes a tenth of the image wide, side by side: [count, 4] y, x, height, width."""
    side = math.ceil(math.sqrt(count))
    places = np.stack(np.divmod(np.arange(count), side), axis=1) / side
    return np.hstack([places, np.full((count, 2), 0.1)]).astype(np.float32)


def post_process_options() -> bytes:
    """What automl's `tflite_nms_implements_signature` says for COCO."""
    whole = {
        "max_detections": DETECTIONS,
        "max_classes_per_detection": 1,
        "detections_per_class": DETECTIONS,
        "num_classes": CLASSES,
    }
    scales = {f"{side}_scale": 1.0 for side in "yxhw"}
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, number in whole.items():
            builder.Key(key)
            builder.Int(number)
        builder.Key("use_regular_nms")
        builder.Bool(False)
        for key, real in {"nms_iou_threshold": 0.5, **scales}.items():
            builder.Key(key)
            builder.Float(real)
        builder.Key("nms_score_threshold")
        builder.Float(-math.inf)
    return bytes(builder.Finish())


def main() -> None:
    """Write what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nets", default="0,1,2,3,4")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in map(int, options.nets.split(",")):
        names = [f"lite{number}_{dtype}.tflite" for dtype in ("float32", "int8")]
        plain, int8 = (options.folder / name for name in names)
        size = export(number, plain)
        quantize(plain, int8, size)
        for dtype in ("float32", "int8"):
            path = options.folder / f"lite{number}_post_{dtype}.tflite"
            post_process(path, size, int8=dtype == "int8")
        print(plain, int8, sep="\n")


if __name__ == "__main__":
    main()
