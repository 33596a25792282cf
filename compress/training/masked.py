"""Which zeros of a model have to stay zeros, whatever trains it."""

from torch import nn

from compress.models.model import Model


def held(model: Model) -> tuple[str, ...]:
    """The parameters of `model.net` in which a zero came from a mask.

    The record of the model names them. A network that stands for the model under other
    names, as one on INT8 grids does, is looked at instead: in its weights, too, only a
    mask leaves exact zeros.
    """
    masked = model.surgery.masked
    if not masked:
        return ()
    own = dict(model.net.named_parameters())
    return tuple(name for name in masked if name in own) or with_zeros(model.net)


def with_zeros(net: nn.Module) -> tuple[str, ...]:
    """The weights of `net`, no bias and no norm, in which something is exactly zero."""
    return tuple(
        name
        for name, value in net.named_parameters()
        if value.dim() > 1 and not value.all()
    )
