"""A cut network brought back near its whole self, from unlabeled images alone."""

import copy
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from compress.context.progress import passed, rounds
from compress.pruning.cutting import Left
from compress.pruning.least_squares import LeastSquares, fits
from compress.training.statistics import Batches, Moments, norms_of

_Norm = nn.modules.batchnorm._BatchNorm  # noqa: SLF001  # of images, lines and volumes
# A channel that varies less than this in the whole network says nothing.
_STILL: Final = 1e-12


def renormalized(
    cut: nn.Module, whole: nn.Module, left: Left, images: Batches
) -> nn.Module:
    """A copy of `cut` whose batch norms give what those of `whole` give, on average.

    Statistics are estimated anew, so that mean and deviation of each output are what
    the whole network's are on these images. That is the usual re-estimation, except
    that it serves a network as well whose statistics are not those of its data, as
    one whose norms were folded.
    """
    made = copy.deepcopy(cut).eval()
    before = {name: Moments() for name in norms_of(whole)}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: before[name].add_maps(given[0])

    def adjust(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            after[name].add_maps(given[0])
            # Later layers see this batch as they will see the average one.
            seen = Moments()
            seen.add_maps(given[0])
            _set_(module, stated[name], aims[name], seen)

        return hook

    _pass(whole, {name: note(name) for name in before}, images)
    aims = {name: m.only(left.get((name, "out"))) for name, m in before.items()}
    norms = {name: module for name, module in norms_of(made).items() if name in aims}
    after = {name: Moments() for name in norms}
    stated = {name: _stated(module) for name, module in norms.items()}
    _pass(made, {name: adjust(name) for name in norms}, images)
    for name, module in norms.items():
        _set_(module, stated[name], aims[name], after[name])
    return made


def reconstructed(
    cut: nn.Module, whole: nn.Module, left: Left, images: Batches
) -> nn.Module:
    """A copy of `cut` whose layers that lost inputs do what they can with the others.

    One after the other, in the order of the forward pass: the weights whose outputs
    are nearest to the whole network's, in the least squares sense, given what the
    layers before give now. Memory does not grow with the number of images.
    """
    made, whole = copy.deepcopy(cut).eval(), copy.deepcopy(whole).eval()
    order, followers = running_order(made, next(images()))
    with torch.no_grad():
        poorer = [name for name in order if (name, "in") in left]
        poorer = [name for name in poorer if fits(made.get_submodule(name))]
        for name, batches in rounds("least squares", poorer, images):
            layer, sidecar = made.get_submodule(name), whole.get_submodule(name)
            if not fits(layer):  # pragma: no cover  # they were chosen for it
                raise TypeError(type(layer).__name__)
            problem = LeastSquares(layer)
            outputs = left.get((name, "out"))
            for batch in batches:
                wanted = _at(whole, sidecar, batch)[1]
                given, answer = _at(made, layer, batch)
                problem.add(given, _only(layer, wanted, outputs), answer)
            norm = followers.get(name)
            shifted = takes_shift(layer, norm)
            give_(layer, norm, *problem.solution(shifted=shifted))
    return made


def _only(layer: nn.Module, wanted: Tensor, outputs: Tensor | None) -> Tensor:
    """The `outputs` of a whole layer that the cut one has too."""
    if outputs is None:
        return wanted
    return wanted.index_select(1 if isinstance(layer, nn.Conv2d) else -1, outputs)


def takes_shift(layer: nn.Conv2d | nn.Linear, norm: nn.Module | None) -> bool:
    """Whether a layer, or the norm after it, can add something to every output."""
    return layer.bias is not None or isinstance(_mean_of(norm), Tensor)


def give_(
    layer: nn.Conv2d | nn.Linear, norm: nn.Module | None, weight: Tensor, shift: Tensor
) -> None:
    """Put in a layer the weights that were found; a norm after it takes the shift."""
    # A weight that is zero stays so: it may be masked.
    layer.weight.copy_(weight.view_as(layer.weight) * (layer.weight != 0))
    if layer.bias is not None:
        layer.bias += shift
    elif isinstance(mean := _mean_of(norm), Tensor):
        mean -= shift


def _mean_of(norm: nn.Module | None) -> object:
    """The mean that a norm takes away, if it has one."""
    return None if norm is None else norm.running_mean


def _set_(
    norm: nn.Module, stated: tuple[Tensor, Tensor], aim: Moments, seen: Moments
) -> None:
    """Let `norm` make of what it has `seen` what it made of `aim` as `stated`."""
    mean, variance = (each.double() for each in stated)
    eps = float(norm.eps)  # type: ignore[arg-type]
    moving = (aim.variance > _STILL) & (seen.variance > _STILL)
    ratio = torch.where(moving, seen.variance / aim.variance.clamp(min=_STILL), 1.0)
    norm.running_var = ((variance + eps) * ratio - eps).clamp(min=0.0).float()
    norm.running_mean = (seen.mean - (aim.mean - mean) * ratio.sqrt()).float()


def _stated(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The statistics that a norm has."""
    mean, variance = norm.running_mean, norm.running_var
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        raise TypeError(f"{type(norm).__name__} has no statistics")
    return mean.clone(), variance.clone()


def _pass(
    net: nn.Module,
    hooks: Mapping[str, Callable[[nn.Module, tuple[Tensor, ...]], None]],
    images: Batches,
) -> None:
    """Show `net` all images; each named module's hook sees what it is given."""
    handles = [
        net.get_submodule(name).register_forward_pre_hook(hook)
        for name, hook in hooks.items()
    ]
    try:
        with torch.no_grad():
            for batch in passed("re-estimating batch norms", images()):
                net(batch)
    finally:
        for handle in handles:
            handle.remove()


class _Enough(Exception):  # noqa: N818  # no error: what was wanted has been seen
    """Ends a forward pass early."""


def _at(net: nn.Module, module: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """What `module` is given and gives when `net` sees `batch`; no later layer runs."""
    seen: list[tuple[Tensor, Tensor]] = []

    def hook(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.append((given[0], answer))
        raise _Enough

    handle = module.register_forward_hook(hook)
    try:
        net(batch)
    except _Enough:
        pass
    finally:
        handle.remove()
    return seen[0]


def running_order(
    net: nn.Module, batch: Tensor
) -> tuple[list[str], dict[str, nn.Module]]:
    """Layers as they run, and the batch norm that reads each one's output."""
    ran: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            ran.append((name, module, given[0], answer))

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | _Norm)
    ]
    try:
        with torch.no_grad():
            net(batch[:1])
    finally:
        for handle in handles:
            handle.remove()
    made = {id(answer): name for name, _, _, answer in ran}
    norms: dict[str, nn.Module] = {
        made[id(given)]: module
        for _, module, given, _ in ran
        if isinstance(module, _Norm) and id(given) in made
    }
    return [name for name, *_ in ran], norms
