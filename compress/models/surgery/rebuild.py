"""A recorded surgery done again on the bare architecture: no data, no search."""

import copy

import torch
from torch import Tensor, nn

from compress.models import meta
from compress.models.surgery.factorize import factors
from compress.models.surgery.record import Factorized, Surgery, Widths
from runtime.errors import InputRejectedError, one_line

_AGAIN = (
    "it was cut from another version of the architecture (timm, torchvision), or the "
    "record was changed: prune again"
)


def rebuilt(net: nn.Module, surgery: Surgery) -> nn.Module:
    """A copy of `net`, an architecture as its library makes it, with `surgery` done.

    Blocks are removed first, then layers split, then widths cut. Tensors that keep
    their shape are those of `net` itself; cut ones begin as its first channels do.
    Raises InputRejectedError that names the module where the record does not fit.
    """
    tensors = [*net.parameters(), *net.buffers()]
    net = copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})
    for name in surgery.removed:
        _found(net, name)
        net.set_submodule(name, nn.Identity())
    for name, how in surgery.factorised.items():
        net.set_submodule(name, _split(_found(net, name), name, how))
    for name, widths in surgery.widths.items():
        _cut_(_found(net, name), name, widths)
    known = {name for name, _ in net.named_parameters()}
    for name in surgery.masked.keys() - known:
        raise _misfit(name, "there is no such parameter to mask")
    return net


def _split(module: nn.Module, name: str, how: Factorized) -> nn.Module:
    """What a layer becomes, or the sentence why it cannot."""
    try:
        return factors(module, how)
    except ValueError as error:
        raise _misfit(name, str(error)) from error


def check_runs(net: nn.Module, *, size: int) -> None:
    """Refuse a network whose layers do not go together, whatever their weights.

    Shapes alone flow through a copy of `net`, from [1, 3, size, size]. Raises
    InputRejectedError that names the module which did not take what it was given.
    """
    shadow = meta.on_meta(net)
    with torch.no_grad(), meta.evaluating(shadow), meta.located(shadow) as culprit:
        try:
            shadow(meta.images(1, size))
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise _misfit(culprit(), one_line(error)) from error


def _cut_(module: nn.Module, name: str, widths: Widths) -> None:
    """Give one module its recorded sizes; a record can only take away."""
    for key, shape in widths.shapes.items():
        for own in (module._parameters, module._buffers):  # noqa: SLF001  # only its own
            old = own.get(key)
            if old is not None:
                _set_(module, key, _first(old, shape, f"{name}.{key}"))
                break
        else:
            raise _misfit(name, f"it has no tensor {key!r}")
    for key, count in widths.counts.items():
        before = vars(module).get(key)
        if not _shrinks(before, count):
            raise _misfit(name, f"its {key} cannot become {count}, it is {before!r}")
        setattr(module, key, count)


def _set_(module: nn.Module, key: str, value: Tensor) -> None:
    """Put `value` in the place of a tensor of the same kind."""
    old = getattr(module, key)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value, requires_grad=old.requires_grad)
    setattr(module, key, value)


def _first(old: Tensor, shape: tuple[int | None, ...], name: str) -> Tensor:
    """The first channels of `old` along every axis that `shape` gives a size."""
    fits = len(shape) == old.dim() and all(
        size is None or size <= most
        for size, most in zip(shape, old.shape, strict=True)
    )
    if not fits:
        raise _misfit(name, f"{list(shape)} cannot be cut from {list(old.shape)}")
    return old.detach()[tuple(slice(size) for size in shape)].clone()


def _shrinks(before: object, after: int | tuple[int, ...]) -> bool:
    """Whether `after` is of the kind of `before` and no larger."""
    if isinstance(after, tuple):
        return (
            isinstance(before, tuple)
            and len(before) == len(after)
            and all(map(_shrinks, before, after))
        )
    return isinstance(before, int) and type(before) is not bool and after <= before


def _found(net: nn.Module, name: str) -> nn.Module:
    """The module of that name, which is not the network itself."""
    modules: dict[str, nn.Module] = dict(net.named_modules())
    found = modules.get(name)
    if found is None or found is net:
        raise _misfit(name or "''", "there is no such module")
    return found


def _misfit(name: str, reason: str) -> InputRejectedError:
    """The error for a record that is not of this architecture."""
    return InputRejectedError(f"surgery: {name}: {reason}; {_AGAIN}")
