"""Which files a run writes, by the kind of model and what the recipe asks for."""

from dataclasses import dataclass
from typing import cast

import pytest
from torch import nn

from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.pipeline.export_plan import PlannedFile, wanted
from compress.recipe.recipe import Export
from runtime.errors import RecipeError
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.target import int8_target


@dataclass(frozen=True)
class Asked:
    """A recipe's keys, and the files that come of them."""

    export: dict[str, object]
    names: tuple[str, ...]


def model(net: nn.Module) -> Model:
    """A model around `net`."""
    return Model(
        spec=ModelSpec(name="lenet5"),
        net=net,
        preprocess=Preprocess(size=32, resize=32),
        classes=("a", "b"),
    )


def quantized() -> Model:
    """A model whose network claims to be quantized; nothing is computed."""
    return model(cast("nn.Module", QuantizedNet.__new__(QuantizedNet)))


HERE = int8_target(this_machine()).name


@pytest.mark.parametrize(
    "asked",
    [
        Asked({}, ("model-lenet5.onnx",)),
        Asked({"to": ("tflite",)}, ("model-lenet5.tflite",)),
        Asked(
            {"to": ("onnx", "tflite"), "dtype": ("float32", "float16")},
            (
                "model-lenet5.onnx",
                "model-lenet5-float16.onnx",
                "model-lenet5.tflite",
                "model-lenet5-float16.tflite",
            ),
        ),
    ],
)
def test_a_float_model_is_written_in_float(asked: Asked) -> None:
    found = wanted("model", model(nn.Identity()), Export(**asked.export))  # type: ignore[arg-type]
    assert tuple(each.name for each in found) == asked.names


@pytest.mark.parametrize(
    "asked",
    [
        Asked({}, (f"model-lenet5-int8-{HERE}.onnx",)),
        Asked(
            {"to": ("onnx", "tflite")},
            (f"model-lenet5-int8-{HERE}.onnx", "model-lenet5-int8.tflite"),
        ),
        Asked(
            {"target": ("arm64", "jetson")},
            ("model-lenet5-int8-arm64.onnx", "model-lenet5-int8-jetson.onnx"),
        ),
        Asked(
            {"dtype": ("float32", "int8")},
            (f"model-lenet5-int8-{HERE}.onnx", "model-lenet5.onnx"),
        ),
    ],
)
def test_a_quantized_model_is_written_for_its_targets(asked: Asked) -> None:
    found = wanted("model", quantized(), Export(**asked.export))  # type: ignore[arg-type]
    assert tuple(each.name for each in found) == asked.names


def test_the_file_for_this_machine_comes_first() -> None:
    export = Export(target=("jetson", HERE))
    first, *rest = wanted("model", quantized(), export)
    assert first.runs_here
    assert [each.runs_here for each in rest] == [False]


def test_int8_of_a_float_model_says_what_to_do() -> None:
    with pytest.raises(RecipeError, match="compress quantize"):
        list(wanted("model", model(nn.Identity()), Export(dtype=("int8",))))


def test_a_number_format_that_no_exporter_writes_is_refused() -> None:
    with pytest.raises(RecipeError, match="dynamic is TFLite's"):
        list(wanted("model", model(nn.Identity()), Export(dtype=("dynamic",))))


def test_an_unknown_target_is_refused_before_any_work() -> None:
    with pytest.raises(RecipeError, match="unknown target 'x87'"):
        Export(target=("x87",))


def test_names_tell_every_variant_apart() -> None:
    export = Export(
        to=("onnx", "tflite"),
        dtype=("float32", "float16", "dynamic", "int8"),
        target=("x86-vnni", "x86-avx2", "arm64", "jetson"),
    )
    names = [each.name for each in wanted("model", quantized(), export)]
    assert len(names) == len(set(names)) == 10
    assert isinstance(next(wanted("model", quantized(), export)), PlannedFile)


def test_half_precision_around_int8_is_for_tensorrt() -> None:
    """The file's name says so; nobody else has such a file."""
    export = Export(target=("arm64", "jetson"), around="float16")
    names = tuple(each.name for each in wanted("model", quantized(), export))
    assert names == (
        "model-lenet5-int8-arm64.onnx",
        "model-lenet5-int8-fp16-jetson.onnx",
    )
    with pytest.raises(RecipeError, match="--target jetson-orin"):
        list(wanted("model", quantized(), Export(around="float16")))
