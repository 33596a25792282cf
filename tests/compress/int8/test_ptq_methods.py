"""The quantizer's techniques, each against what it promises."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured, parameter
from compress.int8.grids import Scheme, snapped_weight, weight_scales
from compress.int8.operators import bias_of, weight_of, weighted
from compress.int8.plan import planned
from compress.int8.rules import grids_of
from compress.int8.simulate import simulated
from compress.quantization.adaptive_rounding import rounded_weight
from compress.quantization.bias_correction import (
    corrected,
    lasting_shift,
    with_weights_corrected,
)
from compress.quantization.calibrate import Seen
from compress.quantization.equalization import equalized, ties
from compress.quantization.output_sensitivity import (
    REACHES,
    Influence,
    Influences,
    cut_by_channel,
    ends_of,
    evenly,
    influences,
)
from compress.quantization.ptq import Methods, quantized, ranges_of
from compress.quantization.ranges import chosen_ranges


def graph_of(net: nn.Module) -> fx.GraphModule:
    """A network of 8x8 images as a canonical graph."""
    graph = captured(net, size=8, name="small")
    canonical_(graph)
    return graph


def small(clamp: nn.Module) -> nn.Sequential:
    """Two convolutions, the first with channels of very different ranges."""
    torch.manual_seed(3)
    first = nn.Conv2d(3, 6, 3)
    with torch.no_grad():
        first.weight *= torch.logspace(-2, 0, 6).view(-1, 1, 1, 1)
        assert first.bias is not None
        first.bias *= torch.logspace(-2, 0, 6)
    last = nn.Conv2d(6, 6, 3, groups=6)
    return nn.Sequential(
        first, clamp, last, nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
    ).eval()


def images(count: int = 16) -> Tensor:
    """Noise, the same each time."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def found_in(graph: fx.GraphModule, shown: Tensor) -> Influences:
    """Influences of every tensor that has a grid."""
    nothing = torch.zeros(0, dtype=torch.float64)
    nodes = [node for group in planned(graph).groups.values() for node in group]
    wanted = dict.fromkeys(nodes, (nothing, nothing))
    return influences(graph, wanted, lambda: [shown], most=len(shown))


def test_an_influence_is_the_gradient_of_the_lead() -> None:
    """With two classes there is one rival, and a linear net's gradient is known."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    graph = graph_of(net)
    gap = (net[1].weight[0] - net[1].weight[1]).detach()

    found = found_in(graph, images(4))

    wanted = gap.view(3, 64).square().sum(dim=1).double() * 4
    torch.testing.assert_close(
        found.tensors["image"].gradients, wanted, rtol=1e-4, atol=0
    )


def test_a_range_is_cut_where_steps_gain_more_than_is_lost() -> None:
    """One outlier of no influence is cut; one of great influence is kept."""
    ends = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    plan = planned(graph_of(small(nn.ReLU())))
    first = next(name for name in plan.groups if name not in plan.logits)
    extremes = dict.fromkeys(plan.groups, (0.0, 8.0))
    for weight, wanted in ((0.0, 1.0), (1e6, 8.0)):
        beyond = weight * (8 - ends).square()
        one = Influence(
            low=torch.zeros(4, dtype=torch.float64),
            high=ends,
            gradients=torch.full((6,), 10.0, dtype=torch.float64),
            cut=beyond.expand(4, 4).clone(),
            reach=torch.zeros(6, len(REACHES)),
            images=1,
        )
        chosen = chosen_ranges(plan, extremes, Influences(tensors={first: one}))
        assert chosen[first] == (0.0, wanted)


def test_candidates_for_a_range_end_at_what_was_seen() -> None:
    seen = Seen()
    seen.extend(torch.tensor([[-1.0, 2.0], [0.0, 6.0]]))
    low, high = ends_of(seen)
    assert float(low[-1]) == pytest.approx(-1)
    assert float(high[-1]) == pytest.approx(6)
    assert float(high[0]) == pytest.approx(0.3 * 4)


def test_equalizing_leaves_the_function_as_it_is() -> None:
    """ReLU passes every factor on."""
    graph, shown = graph_of(small(nn.ReLU())), images()

    made = equalized(graph, found_in(graph, shown))

    assert list(ties(graph))
    torch.testing.assert_close(made(shown), graph(shown), rtol=1e-4, atol=1e-5)
    assert any(name.endswith("_equal") for name, _ in made.named_parameters())


def test_equalizing_cuts_a_stretched_channel_where_relu6_does() -> None:
    """A channel stretched by f ends at 6 / f: computed from the weights' ratios."""
    net = small(nn.ReLU6())
    graph, shown = graph_of(net), images()

    made = equalized(graph, found_in(graph, shown))

    first, second = weighted(graph)[0], weighted(made)[0]
    ratio = parameter(made, weight_of(second)) / parameter(graph, weight_of(first))
    factors = ratio.flatten(1).nanmean(dim=1)
    assert float(factors.max()) > 2
    features = net[1](net[0](shown)).minimum(6 / factors.view(1, -1, 1, 1))
    torch.testing.assert_close(made(shown), net[2:](features), rtol=1e-4, atol=1e-5)


def test_a_channel_is_cut_where_that_costs_less_than_its_steps() -> None:
    """One value, its gradient known: the effect of each cut is slope * distance."""
    value, slope = (
        torch.tensor([[3.0, -0.5], [1.0, 2.0]]),
        torch.tensor([[2.0, 1.0], [0.5, -1.0]]),
    )
    found = cut_by_channel(value, slope)

    def cut(x: float, end: float) -> float:
        return max(-end, min(end, x)) - x

    for place, end in enumerate(REACHES.tolist()):
        for channel in range(2):
            wanted = sum(
                float(slope[i, channel]) * cut(float(value[i, channel]), end)
                for i in range(2)
            )
            assert float(found[channel, place]) == pytest.approx(wanted, abs=1e-5)


def test_equalizing_lowers_the_error_before_a_depthwise_convolution() -> None:
    """Its weights pay nothing, so channels a hundred times apart must gain."""
    graph, shown = graph_of(small(nn.ReLU())), images()
    errors = []
    for equalize in (False, True):
        methods = Methods(ranges="minmax", equalize=equalize, correct_bias="none")
        net = quantized(graph, lambda: [shown], methods=methods)
        errors.append(float((net(shown) - graph(shown)).square().mean()))
    assert errors[1] < errors[0]


def test_a_lasting_shift_is_the_mean_that_images_agree_on() -> None:
    """All alike: the mean. One image alone: next to nothing."""
    counts = torch.full((8, 1), 4.0)
    alike = torch.full((8, 1), 2.0)
    alone = torch.zeros(8, 1)
    alone[3] = 16.0
    torch.testing.assert_close(lasting_shift(alike, counts), torch.tensor([0.5]))
    assert float(lasting_shift(alone, counts).abs()) < 0.15 * 0.5


def test_bias_correction_makes_the_means_equal() -> None:
    """A shift put into the biases by hand is found and taken back."""
    graph, shown = graph_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 5))), images(32)
    scheme = scheme_over(graph, shown)
    owner = weighted(graph)[-1]
    weights = graph.get_parameter(str(owner.args[1].target))  # type: ignore[union-attr]
    # Scales so coarse that many weights round to 0, which shifts the logits.
    coarse = {name: scales * 60 for name, scales in scheme.weights.items()}
    scheme = Scheme(activations=scheme.activations, weights=coarse)
    assert weights.shape == (5, 192)
    bright = shown + 1.0

    made = corrected(graph, graph, scheme, list(bright.split(1)))

    wanted = graph(bright).mean(dim=0)
    before = (simulated(graph, scheme)(bright).mean(dim=0) - wanted).abs().max()
    after = (simulated(made, scheme)(bright).mean(dim=0) - wanted).abs().max()
    assert float(after) < 0.3 * float(before)


def test_the_shift_of_rounded_weights_is_their_error_times_the_mean_input() -> None:
    """A linear layer, in closed form; and a learned rounding is held against float."""
    graph, shown = graph_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 5))), images(32)
    scheme = scheme_over(graph, shown)
    owner = weighted(graph)[-1]
    weight = parameter(graph, weight_of(owner))
    scales = {name: each * 60 for name, each in scheme.weights.items()}
    scheme = Scheme(activations=scheme.activations, weights=scales)
    snapped = snapped_weight(weight, scales[str(weight_of(owner).target)])
    mean = (shown + 1.0).mean(dim=0).flatten()

    made = with_weights_corrected(graph, graph, scheme, (shown + 1.0).split(5))

    wanted = parameter(graph, bias_of(owner)) + (weight - snapped) @ mean
    found = parameter(made, bias_of(weighted(made)[-1]))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def scheme_over(graph: fx.GraphModule, shown: Tensor) -> Scheme:
    """Grids over all that is seen."""
    plan = planned(graph)
    ranges = ranges_of(graph, plan, lambda: [shown + 1.0], ranges="minmax")
    return Scheme(
        activations=grids_of(graph, plan, ranges),
        weights={name: weight_scales(getattr(graph, name)) for name in plan.weights},
    )


@pytest.mark.parametrize(("groups", "shape"), [(1, (8, 12)), (6, (6, 1, 3, 3))])
def test_learned_rounding_is_never_worse_than_nearest(
    groups: int, shape: tuple[int, ...]
) -> None:
    """Measured on the inputs themselves, which are correlated as activations are."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(*shape, generator=draw)
    size = weight[0].numel()
    inputs = torch.randn(groups, size, 200, generator=draw)
    inputs = inputs + 3 * inputs.mean(dim=1, keepdim=True)
    scales = weight_scales(weight) * 12  # 4 bits, so that rounding matters

    learned = rounded_weight(weight, scales, inputs @ inputs.transpose(1, 2))

    def error(rounded: Tensor) -> Tensor:
        lost = (rounded - weight).reshape(groups, -1, size)
        return (lost @ inputs).square().sum(dim=2)

    nearest = snapped_weight(weight, scales)
    assert (error(learned) <= error(nearest) * (1 + 1e-5)).all()
    assert error(learned).sum() < 0.8 * error(nearest).sum()
    torch.testing.assert_close(snapped_weight(learned, scales), learned)


def test_images_are_taken_evenly_and_one_by_one() -> None:
    shown = torch.arange(10.0).view(10, 1, 1, 1)
    chosen = evenly(lambda: shown.split(4), 5)
    assert [float(each) for each in chosen] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert all(each.shape == (1, 1, 1, 1) for each in chosen)


@pytest.mark.parametrize("ranges", ["output", "mean", "minmax", "percentile", "mse"])
def test_every_way_to_choose_ranges_serves_a_network(
    ranges: str, quantized: Callable[..., object]
) -> None:
    """Same graph in, same answers as float for nearly all; the graph is left alone."""
    made = quantized("mobilenetv3_small_050")
    graph, shown = made.graph, made.images  # type: ignore[attr-defined]
    before = [each.clone() for each in graph.parameters()]

    plan = planned(graph)
    chosen = ranges_of(graph, plan, lambda: shown.split(8), ranges=ranges)  # type: ignore[arg-type]

    assert set(chosen) == set(plan.groups) - set(plan.fixed)
    assert all(low <= high for low, high in chosen.values())
    assert all(
        torch.equal(a, b) for a, b in zip(before, graph.parameters(), strict=True)
    )
