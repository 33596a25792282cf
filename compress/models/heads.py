"""The last layer of a network, and weights made for as many classes or for others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compress.context.console import Console
from compress.models.construct import skeleton
from compress.models.naming import named_as
from compress.models.spec import ModelSpec
from compress.models.state import install_

_Shapes = dict[str, tuple[int, ...]]


def load_(
    net: nn.Module,
    spec: ModelSpec,
    state: Mapping[str, Tensor],
    *,
    size: int,
    console: Console,
) -> None:
    """Load weights; a head for another number of classes stays fresh, and is told."""
    head, own = _head(spec, size), net.state_dict()
    named = named_as(own, state, ema=bool(spec.ema))
    if named.said is not None:
        console.tell(f"{spec.weights}: {named.said}")
    state = named.state
    known, outputs = _count(head, state), _count(head, own)
    fresh: tuple[str, ...] = ()
    if known is not None and known != outputs:
        fresh = tuple(head)
        console.tell(
            f"{spec.name}: the weights know {known} classes, the data has {outputs}: "
            "everything but the last layer is loaded, and that starts fresh"
        )
    install_(net, state, origin=str(spec.weights), fresh=fresh)


def known_classes(
    spec: ModelSpec, state: Mapping[str, Tensor], size: int
) -> int | None:
    """How many classes a checkpoint of this architecture tells apart, if it shows."""
    few, many = _shapes(spec, size)
    named = named_as(few, state, ema=bool(spec.ema))
    return _count(_differing(few, many), named.state)


def _count(head: Mapping[str, int], state: Mapping[str, Tensor]) -> int | None:
    """The length of the first head parameter of `state` along its class axis."""
    for name, axis in head.items():
        if name in state and state[name].dim() > axis:
            return state[name].shape[axis]
    return None


def _head(spec: ModelSpec, size: int) -> dict[str, int]:
    """Parameters whose shape follows the number of classes, and along which axis."""
    return _differing(*_shapes(spec, size))


def _shapes(spec: ModelSpec, size: int) -> tuple[_Shapes, _Shapes]:
    """The shape of every tensor by name, for two and for three classes."""
    # A user's own function may look at numbers, which the meta device does not have.
    device = "meta" if spec.factory is None else "cpu"
    shapes: list[_Shapes] = []
    for classes in (2, 3):
        with torch.random.fork_rng(devices=[]), torch.device(device):
            net = skeleton(spec, classes=classes, size=size)
        shapes.append({name: tuple(t.shape) for name, t in net.state_dict().items()})
    return shapes[0], shapes[1]


def _differing(few: _Shapes, many: _Shapes) -> dict[str, int]:
    """Names whose shapes differ, and along which axis first."""
    return {
        name: next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        for (name, one), other in zip(few.items(), many.values(), strict=True)
        if one != other
    }
