"""Natural cuts of a graph, and its gates, against those of the networks' papers."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from compress.int8.regions import cuts, gates


def test_cuts_are_where_one_tensor_leads_on(quantized: Callable[[str], Any]) -> None:
    """In a ResNet: after the stem, its pool, each block, the pool and the answer."""
    found = cuts(quantized("resnet18").graph)

    added = [now - before for before, now in pairwise([frozenset[str](), *found])]
    assert added[0] == {"conv1", "act1"}
    assert added[1] == {"maxpool"}
    assert added[2] == {
        *("layer1_0_conv1", "layer1_0_act1", "layer1_0_conv2"),
        *("layer1_0", "layer1_0_act2"),
    }
    assert all(before < now for before, now in pairwise(found))


def test_gates_are_what_scales_a_tensor_by_its_own_mean(
    quantized: Callable[[str], Any],
) -> None:
    """Squeeze-and-excite: pool, two convolutions, their clamps; not what they scale."""
    found = gates(quantized("mobilenetv3_small_050").graph)

    assert {"blocks_0_0_se_conv_reduce", "blocks_0_0_se_conv_expand"} <= found
    assert not {name for name in found if "_se" not in name}
    assert gates(quantized("resnet18").graph) == frozenset()


def test_a_gate_may_branch_within(quantized: Callable[[str], Any]) -> None:
    """EfficientNet's squeeze ends in SiLU, x times its own sigmoid."""
    found = gates(quantized("efficientnet_b0").graph)

    assert {"blocks_0_0_se_conv_reduce", "blocks_0_0_se_conv_expand"} <= found
    assert not {name for name in found if "_se" not in name}
