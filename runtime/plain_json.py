"""JSON from elsewhere as plain data: bounded, strict, one sentence where it is not.

The standard parser takes what JSON does not have (NaN), keeps the last of two equal
keys, and answers deep nesting or long numbers with errors of its own. Memory is what a
record may ask for, so its length and its number of containers have limits, too.
"""

import json
from typing import Final, NoReturn

from runtime.errors import InputRejectedError

# A report with a million samples has 20 MB; parsed, text takes up to 12 times the room.
LARGEST_BYTES: Final = 1 << 25
_MOST_CONTAINERS: Final = 1_000_000
_DEEPEST: Final = 200  # Keras nests a dozen levels for each model in a model
_MOST_DIGITS: Final = 20  # of 64 bits


class _PlainError(ValueError):
    """JSON that is not taken, and why."""


def json_value(text: str | bytes, *, source: str) -> object:
    """What `text` holds; `source` is what an error begins with.

    Raises InputRejectedError for what is no JSON, not UTF-8, too large, too deep, has
    a key twice, or a number that is not finite or longer than 64 bits.
    """
    try:
        return _parsed(text)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except RecursionError:
        reason = f"it is nested deeper than {_DEEPEST} levels"
    except (_PlainError, json.JSONDecodeError) as error:
        reason = str(error)
    raise InputRejectedError(
        f"{source}: not readable as JSON: {reason}; copy it again, or make it again"
    )


def json_record(text: str | bytes, *, source: str) -> dict[str, object]:
    """The record that `text` holds; see `json_value`."""
    found = json_value(text, source=source)
    if not isinstance(found, dict):
        raise InputRejectedError(
            f"{source}: holds a {type(found).__name__}, not a record"
        )
    return found


def _parsed(text: str | bytes) -> object:
    """Parse within the limits."""
    if len(text) > LARGEST_BYTES:
        raise _PlainError(f"over {LARGEST_BYTES} bytes")
    plain = text.decode("utf-8") if isinstance(text, bytes) else text
    if plain.count("[") + plain.count("{") > _MOST_CONTAINERS:
        raise _PlainError(f"over {_MOST_CONTAINERS} lists and records")
    found: object = json.loads(
        plain,
        object_pairs_hook=_unambiguous,
        parse_int=_whole,
        parse_float=_finite,
        parse_constant=_no_number,
    )
    _check_depth(found)
    return found


def _check_depth(found: object) -> None:
    """Refuse what whoever walks through it later could not walk through."""
    level, depth = [found], 0
    while level:
        if depth > _DEEPEST:
            raise _PlainError(f"it is nested deeper than {_DEEPEST} levels")
        level = [
            each
            for part in level
            if isinstance(part, dict | list)
            for each in (part.values() if isinstance(part, dict) else part)
            if isinstance(each, dict | list)
        ]
        depth += 1


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A record; of two equal keys it cannot be told which is meant."""
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _PlainError(f"key {twice!r:.60} is there twice")
    return record


def _whole(digits: str) -> int:
    """A whole number of at most 64 bits, or a little more."""
    if len(digits) > _MOST_DIGITS:
        raise _PlainError(f"a number of {len(digits)} digits; allowed: {_MOST_DIGITS}")
    return int(digits)


def _finite(digits: str) -> float:
    """A number that is one: `1e999` would become infinity."""
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise _PlainError(f"{digits:.40} is no number that a computer has")
    return number


def _no_number(word: str) -> NoReturn:
    """NaN, Infinity and -Infinity are not JSON."""
    raise _PlainError(f"{word} is no number")
