"""Layers whose channels stay because the user says so."""

import difflib

from torch import nn

from compress.pruning.group import Group
from runtime.errors import RecipeError


def check_names(net: nn.Module, names: tuple[str, ...]) -> None:
    """Refuse to spare layers that do not exist."""
    modules = dict(net.named_modules())
    for name in names:
        if name not in modules or not name:
            close = difflib.get_close_matches(name, modules, n=1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else "the topmost are "
                + (", ".join(child for child, _ in net.named_children()))
            )
            raise RecipeError(f"exclude: no layer {name!r}; {hint}")


def spared(group: Group, names: tuple[str, ...]) -> bool:
    """Whether a layer of the group, or one it is part of, is to keep its channels."""
    return any(
        place == name or place.startswith(f"{name}.")
        for place, side in group.places
        for name in names
        if side == "out"
    )
