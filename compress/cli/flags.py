"""Recipe keys as command-line flags: one definition, one name, one help text."""

import argparse
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from compress.cli.arguments import Parser
from compress.models.spec import CodePath
from compress.recipe.quantities import Given

# Key -> flag, where the flag is not simply `--key`; None leaves the key to recipes.
Names = Mapping[str, str | None]


def add_flags(
    parser: argparse.ArgumentParser,
    record: type[BaseModel],
    *,
    title: str,
    names: Names,
    prefix: str,
) -> None:
    """Give `parser` a flag for every key of `record`, except nested records.

    A flag that is not given leaves no trace, so that the record's default holds. What
    `Training` offers to every stage that trains is for the long help, but for the first
    few of it.
    """
    group = parser.add_argument_group(title)
    rare = _rare(record)
    if isinstance(parser, Parser):
        flags = {flag_of(key, names) for key in rare}
        parser.rare |= {each for flag in flags if flag for each in _spellings(flag)}
    for key, field in record.model_fields.items():
        flag = flag_of(key, names)
        if flag is not None:
            _add(group, flag, f"{prefix}.{key}", field)


def _rare(record: type[BaseModel]) -> frozenset[str]:
    """Keys that few people set."""
    from compress.recipe.training import ESSENTIAL, Training

    if not issubclass(record, Training):
        return frozenset()
    return frozenset(Training.model_fields) - ESSENTIAL


def _spellings(flag: str) -> tuple[str, str]:
    """A flag, and what turns it off where it is on by default."""
    return flag, flag.replace("--", "--no-", 1)


def flag_of(key: str, names: Names) -> str | None:
    """The flag of a record's key; None where it has none."""
    return names.get(key, "--" + key.replace("_", "-"))


def given(options: argparse.Namespace, prefix: str) -> dict[str, object]:
    """The keys under `prefix` that were given as flags."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): value
        for name, value in vars(options).items()
        if name.startswith(start)
    }


def _add(
    group: argparse._ArgumentGroup,  # argparse has no public name for it
    flag: str,
    destination: str,
    field: FieldInfo,
) -> None:
    """Add one flag with the field's type, help and default."""
    kind = _plain(field.annotation)
    text = (field.description or "").replace("%", "%%")
    if kind is bool and field.default is None:  # either way differs from saying nothing
        group.add_argument(
            flag,
            dest=destination,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=text,
        )
        return
    if kind is bool:
        # What is on by default is turned off by `--no-key`.
        group.add_argument(
            flag.replace("--", "--no-", 1) if field.default else flag,
            dest=destination,
            action="store_false" if field.default else "store_true",
            default=argparse.SUPPRESS,
            help=f"do not {text}" if field.default else text,
        )
        return
    if field.default not in (None, (), PydanticUndefined):
        several = isinstance(field.default, tuple)
        shown = ",".join(field.default) if several else field.default
        text += f" (default: {shown})"
    choices = get_args(kind) if get_origin(kind) is Literal else None
    quantity = next(
        (each.quantity for each in field.metadata if isinstance(each, Given)), None
    )
    convert, metavar = _CONVERSIONS.get(
        tuple if get_origin(kind) is tuple else kind, (str, "TEXT")
    )
    if quantity is not None:
        # The record reads it, as it reads a recipe, and complains in the same words.
        convert, metavar = str, quantity.metavar
    group.add_argument(
        flag,
        dest=destination,
        type=convert,
        choices=choices,
        metavar=None if choices else metavar,
        default=argparse.SUPPRESS,
        help=text,
    )


def _names(text: str) -> tuple[str, ...]:
    """Split a list of names at its commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _plain(annotation: object) -> object:
    """An annotation without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        (first, *_) = (a for a in get_args(annotation) if a is not type(None))
        return _plain(first)
    return annotation


_CONVERSIONS: Final[Mapping[object, tuple[Callable[[str], object], str]]] = {
    int: (int, "N"),
    float: (float, "X"),
    tuple: (_names, "NAME,NAME"),
    CodePath: (CodePath, "FILE.py:FUNCTION"),
}
