"""The rules that let every runtime round alike, and the plan they start from."""

from collections.abc import Callable

import pytest
import torch

from compress.int8.capture import ATEN
from compress.int8.grids import Grid
from compress.int8.operators import inputs_of, is_fused, rule_of
from compress.int8.rules import pixel_levels

NETS = ("mobilenetv3_small_050", "resnet18", "shufflenet_v2_x0_5")


@pytest.mark.parametrize("name", NETS)
def test_what_is_added_up_has_one_scale(
    name: str, quantized: Callable[..., object]
) -> None:
    made = quantized(name)
    grids = made.quantized.scheme.activations  # type: ignore[attr-defined]
    for node in made.graph.graph.nodes:  # type: ignore[attr-defined]
        if node.target is not ATEN.add.Tensor:
            continue
        (last,) = node.users if is_fused(node) else (node,)
        met = [*inputs_of(node, rule_of(node)), last]
        assert len({grids[each.name].scale for each in met}) == 1


@pytest.mark.parametrize("name", NETS)
def test_what_only_moves_numbers_keeps_their_grid(
    name: str, quantized: Callable[..., object]
) -> None:
    made = quantized(name)
    grids = made.quantized.scheme.activations  # type: ignore[attr-defined]
    for node in made.graph.graph.nodes:  # type: ignore[attr-defined]
        rule = rule_of(node)
        if rule is None or rule.output not in {"shared", "joined"}:
            continue
        met = [*inputs_of(node, rule), node]
        known = [grids[each.name] for each in met if each.name in grids]
        assert len(set(known)) <= 1


def test_products_have_even_zero_points(quantized: Callable[..., object]) -> None:
    made = quantized("mobilenetv3_small_050")
    grids = made.quantized.scheme.activations  # type: ignore[attr-defined]
    nodes = made.graph.graph.nodes  # type: ignore[attr-defined]
    products = [node.name for node in nodes if node.target is ATEN.mul.Tensor]
    assert products
    assert all(grids[name].zero_point % 2 == 0 for name in products)


def test_the_gate_of_h_swish_is_another_reading_of_its_input(
    quantized: Callable[..., object],
) -> None:
    made = quantized("mobilenetv3_small_050")
    grids = made.quantized.scheme.activations  # type: ignore[attr-defined]
    found = 0
    for node in made.graph.graph.nodes:  # type: ignore[attr-defined]
        if node.target is not ATEN.hardsigmoid.default:
            continue
        source, gate = grids[node.args[0].name], grids[node.name]
        if gate.scale == Grid(1 / 254, -128).scale:
            continue
        found += 1
        k = source.zero_point + 128
        steps = torch.arange(-128, 128)
        gated = torch.nn.functional.hardsigmoid(
            (steps - source.zero_point) * source.scale
        )
        want = (steps + 128).clamp(max=2 * k) / (2 * k)
        assert torch.allclose(gated, want.float(), atol=1e-6)
        assert gate.scale == pytest.approx(1 / (2 * k), rel=1e-6)
    assert found


def test_no_pixel_lies_near_a_tie(quantized: Callable[..., object]) -> None:
    from compress.int8.rules import grids_of

    made = quantized("resnet18")
    levels = pixel_levels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    ranges = dict.fromkeys(made.plan.groups, (-2.1179, 2.64))  # type: ignore[attr-defined]
    grid = grids_of(made.graph, made.plan, ranges, levels=levels)["image"]  # type: ignore[attr-defined]
    steps = levels.double() / grid.scale
    # Float32 puts a quotient at most about 1e-5 of a step beside its place.
    assert (steps - steps.floor() - 0.5).abs().min() > 1e-4


def test_the_answer_of_a_linear_layer_is_left_alone(
    quantized: Callable[..., object],
) -> None:
    made = quantized("resnet18")
    nodes = list(made.graph.graph.nodes)  # type: ignore[attr-defined]
    last = nodes[-1].args[0]
    assert last.target is ATEN.linear.default
    assert last.name not in made.quantized.scheme.activations  # type: ignore[attr-defined]


def test_the_range_that_an_answer_is_read_off_is_not_cut(
    quantized: Callable[..., object],
) -> None:
    made = quantized("squeezenet1_1")
    assert len(made.plan.logits) == 1  # type: ignore[attr-defined]
