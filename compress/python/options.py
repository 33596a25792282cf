"""Options of a stage as keywords: checked by its record, and told by `help`."""

import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from compress.context.validation import keys_of, record_from
from runtime.errors import RecipeError

_Record = TypeVar("_Record", bound=BaseModel)
_Function = TypeVar("_Function", bound=Callable[..., object])
_ALL: Final[Collection[str]] = frozenset()
_WIDTH: Final = 80  # of `help`


def record_of(
    kind: type[_Record],
    options: Mapping[str, object],
    title: str,
    *,
    hidden: Collection[str] = _ALL,
) -> _Record:
    """The record of `options`; what it does not allow is a RecipeError that says so.

    `title` is the function that they were given to; hidden: fields that are not for it.
    """
    for name in options.keys() & set(hidden):
        raise RecipeError(f"{title}: {name}: is not an option here; leave it out")
    return record_from(kind, options, keys_of(title))


def takes(
    *kinds: type[BaseModel], hidden: Collection[str] = _ALL
) -> Callable[[_Function], _Function]:
    """Show the fields of `kinds` in the signature and the help of a function.

    They stand where it has `**options`, so that one definition is recipe key, flag and
    keyword.
    """
    fields: dict[str, FieldInfo] = {}
    for kind in kinds:
        fields = {**kind.model_fields, **fields}
    shown = {name: each for name, each in fields.items() if name not in hidden}

    def told(function: _Function) -> _Function:
        own = inspect.signature(function)
        given = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = [_parameter(name, field) for name, field in shown.items()]
        parameters = sorted([*given, *added], key=lambda each: each.kind)
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what `inspect` looks for
        lines = [_line(name, field) for name, field in shown.items()]
        text = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = "\n".join([text, "", "Options:", *lines])
        return function

    return told


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A field as a keyword."""
    free = field.default is PydanticUndefined
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if free else field.default,
        annotation=field.annotation,
    )


def _line(name: str, field: FieldInfo) -> str:
    """A field in the help."""
    return textwrap.fill(
        f"{name}: {field.description}",
        width=_WIDTH,
        initial_indent="  ",
        subsequent_indent="      ",
    )
