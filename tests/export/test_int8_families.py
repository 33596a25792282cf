"""Every family of the model table in INT8: both files answer as the simulation does.

Small members, and of blocks that repeat each other one or two: what can go wrong in a
family is in its kinds of operators, not in how many there are.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from step_by_step import followed
from torch import nn

from compress.context.vision import timm, torchvision
from compress.int8.float_operators import float_operators
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.models.construct import skeleton
from compress.models.spec import ModelSpec
from export.onnx.lower import int8_macs_fraction, lowered
from export.onnx.relayout import relaid
from export.tflite import reading
from export.to_onnx import qdq_model
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError
from runtime.machine import this_machine
from runtime.session import open_session
from runtime.target import TARGETS, int8_target

if TYPE_CHECKING:
    from conftest import Workshop

pytest.importorskip("litert_torch")
Answers = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

ONE_A_STAGE: Final = (1, 1, 1, 1)
# Residual sums, gates, concatenations, shuffles: in TFLite only the edges are float.
ALL_INTEGERS: Final = (
    "resnet",
    "mobilenetv3",
    "squeezenet",
    "shufflenet_v2",
    "googlenet",
)
# Blocks that give what they get, so that the network does without them.
REPEATED: Final = (
    *("inception4b", "inception4c"),  # GoogLeNet
    *("Mixed_5d", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7c"),  # Inception-v3
    *(f"block{number}" for number in range(5, 12)),  # Xception
)


class Family(NamedTuple):
    """How to make a small member for images of `size`, and what stays float in it.

    lite_db: what LiteRT keeps of the simulation's answers where it takes float
    operators apart; it is asked for the same integers elsewhere. None: the converter
    refuses the family. last_bits: how far ONNX Runtime's logits may be from the
    simulation's, as a share of the largest: sums in float have an order. sums_ahead:
    such sums stand ahead of INT8 operators, so that the integers a network ends with
    are its machine's affair; then each operator is held to the simulation by itself, on
    what the file computed before it.
    """

    make: Callable[[], nn.Module]
    size: int = 64
    floats: frozenset[str] = frozenset()
    lite_db: float | None = 100.0
    last_bits: float = 1e-5
    sums_ahead: bool = False


def ours(name: str) -> Callable[[], nn.Module]:
    """A network of our own."""
    return lambda: skeleton(ModelSpec(name=name), classes=10, size=32)


def of_timm(name: str, **options: object) -> Callable[[], nn.Module]:
    """One of timm's."""
    return lambda: timm.create_model(name, num_classes=10, **options)


def of_torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    """One of torchvision's."""
    return lambda: torchvision.models.get_model(name, num_classes=10, **options)


def alexnet() -> nn.Module:
    """AlexNet with narrow linear layers, which hold 58 of its 61 million weights."""
    net = torchvision.models.get_model("alexnet")
    net.classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(256 * 36, 32), nn.ReLU(inplace=True)),
        *(nn.Dropout(), nn.Linear(32, 32), nn.ReLU(inplace=True), nn.Linear(32, 10)),
    )
    return net


def vgg() -> nn.Module:
    """VGG-11 as narrow; on small images its last pool has uneven windows."""
    net = torchvision.models.get_model("vgg11", init_weights=False)
    net.classifier = nn.Sequential(
        *(nn.Linear(512 * 49, 32), nn.ReLU(inplace=True), nn.Linear(32, 10)),
    )
    return net


FAMILIES: Final[dict[str, Family]] = {
    "lenet5": Family(ours("lenet5"), 32, frozenset({"tanh"})),
    "cifar_resnet": Family(ours("cifar_resnet20"), 32),
    "alexnet": Family(alexnet, 127),
    # Averages over uneven windows are float, and now and then meet a tie.
    "vgg": Family(
        vgg, 96, frozenset({"adaptive_avg_pool2d"}), lite_db=70.0, last_bits=1e-3
    ),
    "googlenet": Family(
        of_torchvision("googlenet", aux_logits=False, init_weights=False)
    ),
    "inception_v3": Family(of_timm("inception_v3"), 96),
    "resnet": Family(of_timm("resnet18")),
    "resnetv2": Family(of_timm("resnetv2_18")),
    "wide_resnet": Family(of_timm("wide_resnet50_2", layers=ONE_A_STAGE)),
    "resnext": Family(of_timm("resnext50_32x4d", layers=ONE_A_STAGE)),
    "seresnet": Family(of_timm("seresnet50", layers=ONE_A_STAGE)),
    "senet": Family(of_timm("legacy_seresnext26_32x4d", layers=ONE_A_STAGE)),
    "densenet": Family(of_timm("densenet121", block_config=(2, 2, 2, 2))),
    "xception": Family(of_timm("legacy_xception")),
    "darknet": Family(of_timm("darknet17")),
    "squeezenet": Family(of_torchvision("squeezenet1_1")),
    "shufflenet_v2": Family(of_torchvision("shufflenet_v2_x0_5")),
    "mobilenetv1": Family(of_timm("mobilenetv1_100")),
    "mobilenetv2": Family(of_timm("mobilenetv2_050")),
    "mobilenetv3": Family(of_timm("mobilenetv3_small_050")),
    "mobilenetv4": Family(of_timm("mobilenetv4_conv_small_035")),
    "efficientnet": Family(of_timm("efficientnet_b0")),
    "efficientnet_lite": Family(of_timm("tf_efficientnet_lite0")),
    "efficientnetv2": Family(of_timm("tf_efficientnetv2_b0")),
    "coatnet": Family(
        of_timm("coatnet_0_224", img_size=64),
        floats=frozenset(
            {"gelu", "layer_norm", "scaled_dot_product_attention", "tanh"}
        ),
        lite_db=30.0,  # a step here and there behind float operators
        sums_ahead=True,
    ),
    "regnetx": Family(of_timm("regnetx_002")),
    "regnety": Family(of_timm("regnety_002")),
    "convnext": Family(
        of_timm("convnext_atto", depths=ONE_A_STAGE),
        floats=frozenset({"gelu", "layer_norm", "mul"}),
        sums_ahead=True,
    ),
}


def shallow(net: nn.Module) -> nn.Module:
    """`net` with each of its repeated blocks once."""
    for name in REPEATED:
        if hasattr(net, name):
            setattr(net, name, nn.Identity())
    for stage in list(net.modules()):
        if isinstance(stage, nn.Sequential):
            shapes = [
                [each.shape for each in block.state_dict().values()] for block in stage
            ]
            for place in reversed(range(1, len(shapes))):
                if len(shapes[place]) > 3 and shapes[place] == shapes[place - 1]:
                    del stage[place]
    return net


def asked(path: Path, images: Answers, *, literally: bool = False) -> Answers:
    """What ONNX Runtime computes; `literally`: as the file says, in float kernels."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if literally:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    found: Answers = session.run(None, {"image": images})[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_both_files_of_a_family_answer_as_the_simulation(
    workshop: "Workshop", tmp_path: Path, family: str
) -> None:
    """The same logits but for the last bits of float sums; what is float is named.

    Behind float sums, the same integers for the same integers.

    ARM's file, which no kernels here run, says literally what this machine's does.
    """
    make, size, floats, lite_db, share_of_last, sums_ahead = FAMILIES[family]
    torch.manual_seed(0)
    made = workshop.quantized(shallow(make()), workshop.pixels(8, size))
    want, images = made.answers(), made.images.numpy()
    last_bits = share_of_last * np.abs(want).max()
    left = list(float_operators(QuantizedNet(made.graph, made.scheme)))
    share = sum(float(str(each["macs_share"])) for each in left)
    graph = with_qdq(made.graph, made.scheme)
    raw = qdq_model(graph, size=size, name=family)
    here, arm = int8_target(this_machine()), TARGETS["generic-arm64"]
    paths = {each: tmp_path / f"{each.name}.onnx" for each in (here, arm)}
    for target, path in paths.items():
        onnx.save(lowered(raw, target), path)

    if sums_ahead:
        steps = followed(made.graph, made.scheme, paths[here], made.images)
        assert steps.off == []
        assert steps.seen > 0.9
        assert np.abs(steps.error).max() < last_bits
    else:
        found = asked(paths[here], images)
        np.testing.assert_allclose(found, want, rtol=0, atol=last_bits)
    if here.layout is not None and here.layout.activations == "uint8":
        folder = tmp_path / "equal"
        folder.mkdir()
        equal = relaid(Artifact.read(paths[arm]), here.layout, folder).path
        assert np.array_equal(asked(equal, images), asked(paths[here], images))
    literal = {
        each: asked(path, images, literally=True) for each, path in paths.items()
    }
    # In float kernels a sum may meet a tie from either side: a step here or there.
    apart = 1e-4 * np.abs(want).max()
    np.testing.assert_allclose(literal[arm], literal[here], rtol=0, atol=apart)
    assert {each["operator"] for each in left} == floats
    if "adaptive_avg_pool2d" not in floats:  # matrices there, which are no layer's
        assert int8_macs_fraction(paths[here]) == pytest.approx(1 - share, abs=1e-3)
    if lite_db is None:
        with pytest.raises(InputRejectedError, match="cannot be exported"):
            workshop.written(graph, tmp_path / "net.tflite", size=size)
        return

    file = workshop.written(graph, tmp_path / "net.tflite", size=size)

    lite = open_session(file).run(made.channels_last)
    noise = np.square(want - lite, dtype=np.float64).sum() + 1e-30
    assert 10 * np.log10(np.square(want, dtype=np.float64).sum() / noise) > lite_db
    # Beside what is named, its classifier gives float sums of stored int8 weights.
    assert reading.int8_macs_fraction(file.path) > 0.98 - share
    if family in ALL_INTEGERS:
        inside = Counter(
            each.name for each in reading.operators(file.path) if not each.int8
        )
        assert inside.keys() <= {"QUANTIZE", "DEQUANTIZE", "FULLY_CONNECTED", "MEAN"}
        assert inside.total() <= 4
