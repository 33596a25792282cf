"""Records from a file as frozen dataclasses, every value of the type that is declared.

A dataclass says what is allowed, by its annotations: `Annotated[int, Between(1, 64)]`.
Numbers are numbers (true is none, and none is NaN), a text is no list of letters. One
reader serves all records of the runtime, which has no library to do it.
"""

import functools
import math
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from runtime.errors import InputRejectedError

T = TypeVar("T")
_ABSENT, _STRANGE = object(), object()  # a value that is not there, a key too many
_WORDS: Final[Mapping[object, str]] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True)
class Between:
    """The least and the largest number that is allowed."""

    low: float
    high: float


class _WrongError(Exception):
    """A value that is not allowed: where in the record, what it is, what is allowed."""

    def __init__(self, place: str, found: object, allowed: str) -> None:
        super().__init__(place, found, allowed)
        self.place, self.found, self.allowed = place, found, allowed


def record_as(
    kind: type[T],
    record: object,
    *,
    source: str,
    others: Literal["refused", "ignored"] = "refused",
) -> T:
    """The dataclass `kind` that `record` describes; `source` begins an error.

    Keys that `kind` does not know are an error, unless `others` says that they are
    none: of records that later versions may add to. Within it they always are. Raises
    InputRejectedError.
    """
    try:
        return cast("T", _record(kind, record, "", strict=others == "refused"))
    except _WrongError as wrong:
        where = f"{source}: {wrong.place}" if wrong.place else source
        raise InputRejectedError(
            f"{where} is {shown(wrong.found)}; allowed: {wrong.allowed}"
        ) from None


def shown(found: object) -> str:
    """A value in an error: short, whatever it is."""
    if found is None:
        return "null"
    if found is _ABSENT:
        return "missing"
    if found is _STRANGE:
        return "an unknown key"
    if isinstance(found, Mapping):
        return f"a record of {len(found)}"
    if isinstance(found, list) and len(found) > 4:  # noqa: PLR2004  # short enough to print
        return f"a list of {len(found)}"
    text = repr(found).lower() if isinstance(found, bool) else repr(found)
    limit = 60
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _record(kind: type, found: object, place: str, *, strict: bool) -> object:
    """A dataclass."""
    if not isinstance(found, Mapping):
        raise _WrongError(place, found, "a record")
    hints, known = _declared(kind)
    inside = f"{place}." if place else ""
    for key in found:
        if strict and key not in known:
            raise _WrongError(f"{inside}{key!s:.60}", _STRANGE, _one_of(known))
    values = {
        key: _value(hints[key], found[key], inside + key)
        for key in known
        if key in found
    }
    for key, each in known.items():
        if key not in values and not _has_default(each):
            raise _WrongError(f"{inside}{key}", _ABSENT, _words(hints[key]))
    try:
        return kind(**values)
    except ValueError as error:  # what a record says about two of its fields
        raise _WrongError(place, found, str(error)) from error


@functools.cache
def _declared(kind: type) -> "tuple[dict[str, Any], dict[str, Field[Any]]]":
    """The annotations and the fields of a dataclass, looked up once."""
    hints = get_type_hints(kind, include_extras=True)
    return hints, {each.name: each for each in fields(kind)}


def _has_default(field: "Field[Any]") -> bool:
    """Whether a record may leave a field out."""
    return field.default is not MISSING or field.default_factory is not MISSING


def _value(  # noqa: PLR0911, C901  # one line a form of annotation
    kind: object, found: object, place: str
) -> object:
    """`found`, if it is of that kind; lists become tuples."""
    if (kind is object or type(found) is kind) and not _is_infinite(found):
        return found  # most values are plain
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bounded(parts, found, place)
    if origin in {Union, types.UnionType}:
        return _either(parts, found, place)
    if origin is Literal:
        if isinstance(found, str) and found in parts:
            return found
    elif origin is tuple:
        if isinstance(found, list | tuple):
            return _tuple(parts, found, place)
    elif origin is not None and issubclass(cast("type", origin), Mapping):
        if isinstance(found, Mapping):
            return {
                str(key): _value(parts[1], each, f"{place}.{key}")
                for key, each in found.items()
            }
    elif isinstance(kind, type) and is_dataclass(kind):
        return _record(kind, found, place, strict=True)
    elif kind is float and type(found) is int:
        with suppress(OverflowError):  # longer than any number that a computer has
            return float(found)
    raise _WrongError(place, found, _words(kind))


def _is_infinite(found: object) -> bool:
    """Whether a number is none that JSON can say."""
    return isinstance(found, float) and not math.isfinite(found)


def _bounded(parts: tuple[object, ...], found: object, place: str) -> object:
    """A number between its limits."""
    value = _value(parts[0], found, place)
    limits = next(each for each in parts[1:] if isinstance(each, Between))
    if not limits.low <= cast("float", value) <= limits.high:
        raise _WrongError(place, found, _words(Annotated[parts]))
    return value


def _either(parts: tuple[object, ...], found: object, place: str) -> object:
    """The first of several kinds that takes it; what is wrong within one is told."""
    wrong: list[_WrongError] = []
    for part in parts:
        try:
            return _value(part, found, place)
        except _WrongError as error:  # noqa: PERF203  # a handful of kinds
            wrong.append(error)
    deeper = next((each for each in wrong if each.place != place), None)
    if deeper is not None:
        raise deeper
    raise _WrongError(place, found, " or ".join(map(_words, parts)))


def _tuple(
    parts: tuple[object, ...], found: Sequence[object], place: str
) -> tuple[object, ...]:
    """A list of one kind, or of so many values."""
    if parts[1:] == (Ellipsis,):
        if _is_plainly(parts[0], found):
            return tuple(found)
        parts = (parts[0],) * len(found)
    if len(parts) != len(found):
        raise _WrongError(place, list(found), f"a list of {len(parts)}")
    return tuple(
        _value(part, each, f"{place}[{index}]")
        for index, (part, each) in enumerate(zip(parts, found, strict=True))
    )


def _is_plainly(kind: object, found: Sequence[object]) -> bool:
    """Whether a list is of one plain kind throughout: seen at once, however long."""
    return kind in {int, str, bool} and set(map(type, found)) <= {kind}


def _words(kind: object) -> str:
    """A kind, for people."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = next(each for each in parts[1:] if isinstance(each, Between))
        return f"{_words(parts[0])} from {limits.low:g} to {limits.high:g}"
    if origin in {Union, types.UnionType}:
        return " or ".join(map(_words, parts))
    if origin is Literal:
        return _one_of(parts)
    if origin is tuple:
        many = "" if parts[1:] == (Ellipsis,) else f" of {len(parts)}"
        return f"a list{many}, each part {_words(parts[0])}"
    return _WORDS.get(kind, "anything" if kind is object else "a record")


def _one_of(names: Sequence[object] | Mapping[str, object]) -> str:
    """What a closed set holds."""
    return ", ".join(map(str, names))
