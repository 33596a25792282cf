"""A quantized network comes back bit for bit, or is refused with a sentence."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import fx

from compress.context.console import Console
from compress.evaluation.costs import costs_of
from compress.int8.at_rest import record_of, tensors_of
from compress.int8.capture import ATEN, parameter
from compress.int8.grids import Grid
from compress.int8.simulate import QuantizedNet
from compress.models.build import build
from compress.models.checkpoint import TENSORS, load_model, save_model, weights_digest
from compress.models.model import Model
from compress.models.spec import ModelSpec
from runtime.errors import InputRejectedError
from runtime.files import read_json, write_json


def model_of(made: object, name: str) -> Model:
    """The model around a quantized network."""
    model = build(
        ModelSpec(name=name),
        classes=tuple("abcdefghij"),
        native_size=64,
        size=64,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    return model.with_net(made.quantized)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet18"])
def test_it_comes_back_bit_for_bit(
    name: str, quantized: Callable[..., object], tmp_path: Path
) -> None:
    made = quantized(name)
    model = model_of(made, name)
    logits = replace(model.net.scheme, logits=Grid(0.1, 3))  # type: ignore[union-attr,arg-type]
    model = model.with_net(QuantizedNet(model.net.graph, logits))  # type: ignore[arg-type]
    save_model(model, tmp_path)
    back = load_model(tmp_path)
    assert isinstance(back.net, QuantizedNet)
    assert back.net.scheme.logits == Grid(0.1, 3)
    assert weights_digest(back) == weights_digest(model)
    with torch.inference_mode():
        assert torch.equal(back.net(made.images), model.net(made.images))  # type: ignore[attr-defined]


def test_what_float_operators_read_comes_back_too(
    quantized: Callable[..., object], tmp_path: Path
) -> None:
    """Layer norms and layer scales of a trained ConvNeXt are not those of a new one."""
    made = quantized("convnext_atto")
    graph = copy.deepcopy(made.quantized.graph)  # type: ignore[attr-defined]
    for node in graph.graph.nodes:
        if node.target in {ATEN.layer_norm.default, ATEN.mul.Tensor}:
            constant = next(each for each in node.args[1:] if isinstance(each, fx.Node))
            parameter(graph, constant).add_(0.5)
    net = QuantizedNet(graph, made.quantized.scheme)  # type: ignore[attr-defined]
    model = model_of(made, "convnext_atto").with_net(net)
    save_model(model, tmp_path)
    back = load_model(tmp_path).net
    with torch.inference_mode():
        want = net(made.images)  # type: ignore[attr-defined]
        assert torch.equal(back(made.images), want)  # type: ignore[attr-defined]
        assert not torch.equal(made.quantized(made.images), want)  # type: ignore[attr-defined]


def test_other_grids_are_another_network(quantized: Callable[..., object]) -> None:
    model = model_of(quantized("resnet18"), "resnet18")
    net = model.net
    assert isinstance(net, QuantizedNet)
    first = next(iter(net.scheme.activations))
    moved = {**net.scheme.activations, first: Grid(1.0, 0)}
    other = QuantizedNet(net.graph, replace(net.scheme, activations=moved))
    assert weights_digest(model.with_net(other)) != weights_digest(model)


def test_a_record_that_does_not_fit_is_refused(
    quantized: Callable[..., object], tmp_path: Path
) -> None:
    save_model(model_of(quantized("resnet18"), "resnet18"), tmp_path)
    record = read_json(tmp_path / "model.json")
    names = record["int8"]["activations"]  # type: ignore[index]
    names[0] = "a_layer_of_another_version"
    write_json(tmp_path / "model.json", record)
    with pytest.raises(InputRejectedError, match="a_layer_of_another_version"):
        load_model(tmp_path)


def test_it_is_weighed_as_a_file_would_hold_it(
    quantized: Callable[..., object],
) -> None:
    made = quantized("resnet18")
    model = model_of(made, "resnet18")
    plain = model.with_net(made.net)  # type: ignore[attr-defined]
    # Four bytes a weight become one; biases stay four.
    assert 3.9 < costs_of(plain).size_bytes / costs_of(model).size_bytes < 4.0
    assert costs_of(model).macs == costs_of(plain).macs


def test_every_tensor_is_written(quantized: Callable[..., object]) -> None:
    net = quantized("mobilenetv3_small_050").quantized  # type: ignore[attr-defined]
    found = tensors_of(net)
    assert len(found["activations.scale"]) == len(record_of(net)["activations"])  # type: ignore[arg-type]
    assert TENSORS == "model.safetensors"
