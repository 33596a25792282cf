"""Which sizes of a network differ from its architecture's, module by module."""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from torch import Tensor, nn

from compress.models.surgery.record import Widths


def widths_between(whole: nn.Module, cut: nn.Module) -> dict[str, Widths]:
    """The sizes of every module of `cut` that differ from those of `whole`, by name.

    Both have the same modules, under the same names; one that is missing is a
    ValueError, since no size says what took its place. What `whole` and its sidecar
    agree in is not recorded.
    """
    before, after = dict(whole.named_modules()), dict(cut.named_modules())
    if before.keys() != after.keys():
        odd = min(before.keys() ^ after.keys())
        raise ValueError(f"{odd}: is in one of the two networks only")
    found = {}
    for name, module in before.items():
        widths = Widths(
            shapes=dict(_shapes(module, after[name])),
            counts=dict(_counts(vars(module), vars(after[name]))),
        )
        if widths != Widths():
            found[name] = widths
    return found


def _shapes(
    before: nn.Module, after: nn.Module
) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """The module's own tensors whose shape changed, unchanged axes as None."""
    fresh = dict(_tensors(after))
    for name, old in _tensors(before):
        new = fresh[name]
        if old.shape != new.shape:
            pairs = zip(old.shape, new.shape, strict=True)
            yield name, tuple(None if a == b else b for a, b in pairs)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of the module itself."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _counts(
    before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[tuple[str, int | tuple[int, ...]]]:
    """The module's attributes that are whole numbers, or some, and changed."""
    for name, old in before.items():
        new = after.get(name)
        if _counts_channels(old) and _counts_channels(new) and old != new:
            yield name, new


def _counts_channels(value: object) -> TypeGuard[int | tuple[int, ...]]:
    """Whether this is a whole number, or a tuple of them."""
    if isinstance(value, tuple):
        return bool(value) and all(map(_counts_channels, value))
    return isinstance(value, int) and not isinstance(value, bool)
