"""ONNX models with parts in float, and the placement that is fastest here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from compress.int8.regions import cuts, gates
from compress.int8.simulate import with_qdq
from export.onnx.lower import int8_macs_fraction, lowered
from export.onnx.lowering.regions import floated, opener
from export.placement import Effort, placed
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.target import TARGETS, int8_target


def test_a_part_in_float_is_what_the_scheme_without_it_gives(
    quantized: Callable[[str], Any], asked: Callable[..., Any], tmp_path: Path
) -> None:
    """But for the rounding of the part's weights, which only the scheme undoes."""
    net = quantized("resnet18")
    part = cuts(net.graph)[3]
    scheme = net.scheme.without(part)
    with torch.inference_mode():
        want = with_qdq(net.graph, scheme)(torch.from_numpy(net.images)).numpy()

    path = tmp_path / "part.onnx"
    onnx.save(lowered(floated(net.model, part), TARGETS["x86-vnni"]), path)

    found = asked(path, net.images, optimized=False)
    noise = np.square(found - want).sum() / np.square(want).sum()
    assert noise < 10 ** (-30 / 10)
    assert 0.3 < int8_macs_fraction(path) < 0.9


def test_all_in_float_rounds_nothing(quantized: Callable[[str], Any]) -> None:
    """No Q is left when every layer is in float."""
    net = quantized("mobilenetv3_small_050")
    everything = frozenset().union(*cuts(net.graph))

    made = floated(net.model, everything)

    assert "QuantizeLinear" not in {node.op_type for node in made.graph.node}


def test_every_candidate_is_on_record_with_float_last(
    quantized: Callable[[str], Any],
) -> None:
    """What was timed can be shown; without leave, all stays in INT8."""
    net = quantized("resnet18")
    plain = qdq_model(net.net, size=64, name="resnet18")

    found = placed(
        opener(net.model, plain, int8_target(this_machine())),
        cuts=cuts(net.graph),
        gates=gates(net.graph),
        rng=np.random.default_rng(0),
        effort=Effort(slice_seconds=0, final_seconds=0, beginnings=1, parts=2),
        accepts=lambda _: False,
    )

    names = [each.name for each in found.candidates]
    assert names[-1] == "all in float"
    assert set(names[1:-1]) == {
        *("float up to cut 1", "part 1 in float", "part 2 in float")
    }
    assert found.candidates[-1].ratio == 1.0
    assert all(each.latency_ms for each in found.candidates)
    assert (names[0], found.left_float) == ("all in INT8", frozenset())
