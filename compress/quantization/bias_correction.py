"""Bias correction: what rounding and cutting shift on average, biases take back.

Rounded weights shift the mean of a sum by their errors times the mean of its inputs,
which a few images tell for certain. What activations add to that is less sure: a range
that cuts rare values looks like a shift, so taking it back is a remedy to be tried.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final, cast

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, fx

from compress.context.progress import Counted, passed
from compress.int8 import kernels
from compress.int8.axes import OF_MAPS, OF_TOKENS, by_channel, channel_axis
from compress.int8.biases import give_bias_
from compress.int8.capture import ATEN, parameter
from compress.int8.grids import Scheme, snapped_weight
from compress.int8.operators import bias_of, is_fused, weight_of, weighted, written
from compress.int8.simulate import bounds_of, is_int8, simulated
from compress.quantization.calibrate import Watch

if TYPE_CHECKING:
    from export.qparams import Grid

_KERNELS: Final = frozenset({kernels.conv2d, kernels.linear})
_ALL: Final = (float("-inf"), float("inf"))


def with_weights_corrected(
    graph: fx.GraphModule,
    rounded: fx.GraphModule,
    scheme: Scheme,
    images: Sequence[Tensor],
) -> fx.GraphModule:
    """A copy of `rounded` whose biases make up for the mean shift of its weights.

    graph: the same in float; images: float32 [n, 3, size, size] each. Nagel et al.
    2019, section 4.2, with means that were measured: a sum is linear in its inputs, so
    their mean is all that it takes.
    """
    made = copy.deepcopy(rounded)
    exact = {node.name: node for node in weighted(graph)}
    owners = [node for node in weighted(made) if _has_kernel(node, scheme)]
    count, shown = sum(map(len, images)), 0
    means: dict[str, Tensor] = {}

    def show(name: str, values: Tensor) -> None:
        # What has a row for each token has more rows than there are images.
        share = values.mean(dim=0, keepdim=True) * (shown / count)
        means[name] = means[name] + share if name in means else share

    read = {cast("fx.Node", node.args[0]).name for node in owners}
    watch = Watch(graph, {name: name for name in read}, show)
    with torch.inference_mode():
        for batch in passed("correcting biases", images):
            shown = len(batch)
            watch.run(batch)
    for node in owners:
        name = weight_of(node)
        snapped = snapped_weight(
            parameter(made, name), scheme.weights[str(name.target)]
        )
        error = parameter(graph, weight_of(exact[node.name])) - snapped
        mean = means[cast("fx.Node", node.args[0]).name].clone()
        call = cast("Callable[..., Tensor]", node.target)
        lost = call(mean, error, None, *node.args[3:])
        _add_to_bias_(made, node, by_channel(lost, channel_axis(node)).mean(dim=0))
    made.recompile()
    return made


def corrected(
    graph: fx.GraphModule,
    rounded: fx.GraphModule,
    scheme: Scheme,
    images: Sequence[Tensor],
) -> fx.GraphModule:
    """A copy of `rounded` whose biases make up for the mean error of each channel.

    graph: the same in float; images: float32 [n, 3, size, size], few, since all go
    through both networks in step: an operator is corrected on what those before it give
    once they are (Nagel et al. 2019, section 4.2, measured on images, not assumed).
    """
    made = copy.deepcopy(rounded)
    net = simulated(rounded, scheme)
    owners = {node.name: node for node in weighted(made) if _has_kernel(node, scheme)}
    whole = torch.cat(list(images))
    with torch.inference_mode():
        exact = _exact_outputs(graph, owners.keys(), whole)
        shown = passed("correcting biases", Counted(exact, len(owners)))
        run = _Correct(net, shown)
        run.run(whole)
    for owner, shift in zip(owners.values(), run.shifts, strict=True):
        _add_to_bias_(made, owner, shift.clone())
    made.recompile()
    return made


def _add_to_bias_(graph: fx.GraphModule, node: fx.Node, more: Tensor) -> None:
    """Let a weighted node add `more` [outputs] to what its bias adds."""
    old = bias_of(node)
    give_bias_(graph, node, more if old is None else parameter(graph, old) + more)


def lasting_shift(error: Tensor, counts: Tensor) -> Tensor:
    """The mean error of each channel, as far as images agree on it, [channels].

    error: the sum over places, [images, channels]; counts: of how many places. What
    one image in many shows, such as a value that was cut, is no shift: the mean is
    shrunk by its own uncertainty (James and Stein 1961).
    """
    places = counts.sum(dim=0).clamp(min=1)
    mean = error.sum(dim=0) / places
    apart = (error - mean * counts).square().sum(dim=0) / places.square()
    return mean * (1 - apart / mean.square().clamp(min=1e-20)).clamp(min=0)


def _exact_outputs(
    graph: fx.GraphModule, names: AbstractSet[str], images: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """What each named node gives in float, and where a clamp lets it through.

    One node after the other, so that both networks are held only where they are.
    """
    run = fx.Interpreter(graph)
    run.args_iter = iter((images,))
    for node in graph.graph.nodes:
        made = run.run_node(node)
        run.env[node] = made
        if node.name in names:
            low, high = bounds_of(next(iter(node.users))) if is_fused(node) else _ALL
            yield made, (made > low) & (made < high)
        for dead in run.user_to_last_uses.get(node, ()):
            del run.env[dead]


def _has_kernel(node: fx.Node, scheme: Scheme) -> bool:
    """Whether `simulated` computes a weighted node in integers."""
    if not is_int8(node, scheme):
        return False
    return (
        written(node).name in scheme.activations or node.target is ATEN.linear.default
    )


class _Correct(fx.Interpreter):
    """Runs a simulated graph and mends the bias of each kernel before going on."""

    def __init__(
        self, net: fx.GraphModule, exact: Iterator[tuple[Tensor, Tensor]]
    ) -> None:
        """`exact`: what each kernel would give in float, and where it matters."""
        super().__init__(net)
        self.exact = exact
        self.shifts: list[Tensor] = []

    def run_node(self, n: fx.Node) -> object:
        """Run one node; if it is a kernel, twice."""
        if n.target not in _KERNELS:
            return super().run_node(n)
        args, _ = self.fetch_args_kwargs_from_env(n)
        images, weight, bias = cast("tuple[Tensor, Tensor, Tensor | None]", args[:3])
        rest = args[3:]
        *geometry, source, factors, target, _ = cast("tuple[object, ...]", rest)
        # From the integer sums to what they stand for, before rounding and clamp.
        by = cast("Tensor", factors) * (
            1.0 if target is None else cast("Grid", target).scale
        )
        steps = torch.round(images / cast("Grid", source).scale)
        if geometry:
            stride, padding, dilation, groups = cast("kernels.Geometry", geometry[0])
            sums = F.conv2d(steps, weight, bias, stride, padding, dilation, groups)
            sums *= by.view(1, -1, 1, 1)
        else:
            sums = F.linear(steps, weight, bias) * by
        wanted, matters = next(self.exact)
        axis = OF_MAPS if geometry else OF_TOKENS
        error, counts = (
            each.movedim(axis, 1).flatten(2).sum(dim=2) if each.dim() > 2 else each  # noqa: PLR2004  # features
            for each in ((wanted - sums) * matters, matters)
        )
        shift = lasting_shift(error, counts)
        self.shifts.append(shift)
        counted = torch.zeros_like(shift) if bias is None else bias
        mended = torch.round(counted + shift / by)
        call = cast("fx.node.Target", n.target)
        return self.call_function(call, (images, weight, mended, *rest), {})
