"""Placement: parts between natural cuts, in float or INT8, by measured latency."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compress.int8.simulate import with_qdq
from export.lower import int8_macs_fraction, lowered
from export.lowering.regions import branches, cuts, floated
from export.placement import Placement, placed
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.target import TARGETS, int8_target

HERE = int8_target(this_machine())


@pytest.fixture(scope="module")
def searched(quantised: Callable[[str], Any]) -> Placement:
    """A short search on a small network."""
    net = quantised("resnet18")
    return placed(
        net.model,
        qdq_model(net.net, size=64, name="resnet18"),
        target=HERE,
        rng=np.random.default_rng(0),
        seconds=8,
        accepts=lambda _: False,
    )


def test_cuts_are_where_one_tensor_leads_on(quantised: Callable[[str], Any]) -> None:
    """In a ResNet: after the stem, its pool, each block, the pool and the answer."""
    found = cuts(quantised("resnet18").model)

    added = [now - before for before, now in pairwise([frozenset[str](), *found])]
    assert added[0] == {"conv1", "act1"}
    assert added[1] == {"maxpool"}
    assert added[2] == {
        *("layer1_0_conv1", "layer1_0_act1", "layer1_0_conv2"),
        *("layer1_0", "layer1_0_act2"),
    }
    assert all(before < now for before, now in pairwise(found))


def test_branches_are_the_gates(quantised: Callable[[str], Any]) -> None:
    """Squeeze-and-excite: pool, two convolutions, their clamps; not what they scale."""
    found = branches(quantised("mobilenetv3_small_050").model)

    assert {"blocks_0_0_se_conv_reduce", "blocks_0_0_se_conv_expand"} <= found
    assert not {name for name in found if "_se" not in name}
    assert branches(quantised("resnet18").model) == frozenset()


def test_a_part_in_float_is_what_the_scheme_without_it_gives(
    quantised: Callable[[str], Any], asked: Callable[..., Any], tmp_path: Path
) -> None:
    """But for the rounding of the part's weights, which only the scheme undoes."""
    net = quantised("resnet18")
    part = cuts(net.model)[3]
    scheme = net.scheme.without(part)
    with torch.inference_mode():
        want = with_qdq(net.graph, scheme)(torch.from_numpy(net.images)).numpy()

    path = tmp_path / "part.onnx"
    onnx.save(lowered(floated(net.model, part), TARGETS["x86-vnni"]), path)

    found = asked(path, net.images, optimised=False)
    noise = np.square(found - want).sum() / np.square(want).sum()
    assert noise < 10 ** (-30 / 10)
    assert 0.3 < int8_macs_fraction(path) < 0.9


def test_all_in_float_rounds_nothing(quantised: Callable[[str], Any]) -> None:
    """No Q is left when every layer is in float."""
    model = quantised("mobilenetv3_small_050").model
    everything = frozenset().union(*cuts(model))

    made = floated(model, everything)

    assert "QuantizeLinear" not in {node.op_type for node in made.graph.node}


def test_every_candidate_is_on_record_with_float_last(searched: Placement) -> None:
    """What was timed can be shown; ratios are float's latency over theirs."""
    names = [each.name for each in searched.candidates]

    assert names[-1] == "all in float"
    assert "all in INT8" in names
    assert "float up to cut 1" in names
    assert searched.candidates[-1].ratio == 1.0
    assert all(each.latency_ms for each in searched.candidates)
    assert searched.as_record()["measured"] is True


def test_what_is_not_accepted_is_not_chosen(searched: Placement) -> None:
    """The accuracy floor is the caller's; without leave, all stays in INT8."""
    assert searched.left_float == frozenset()
    assert searched.candidates[0].name == "all in INT8"


def test_where_float_is_faster_float_is_the_answer(
    quantised: Callable[[str], Any],
) -> None:
    """Against a float file that does nearly nothing, no placement wins."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "idle", [image], [logits])
    idle = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )

    found = placed(
        quantised("resnet18").model,
        idle,
        target=HERE,
        rng=np.random.default_rng(0),
        seconds=0,
    )

    assert found.float_wins
    assert found.as_text().startswith("float32 is faster: all in INT8 takes")


def test_for_another_machine_nothing_is_timed(quantised: Callable[[str], Any]) -> None:
    """A placement measured here says nothing about an Arm board."""
    model = quantised("resnet18").model
    other = replace(this_machine(), arch="aarch64", features=("asimd",))

    found = placed(
        model, model, target=HERE, rng=np.random.default_rng(0), machine=other
    )

    assert not found.measured
    assert found.left_float == frozenset()
    assert "not the target" in found.as_text()
