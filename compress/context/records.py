"""Plain records from a file, read without trusting them."""

from collections.abc import Mapping, Sequence

from runtime.errors import InputRejectedError

Record = Mapping[str, object]


def number(record: Record, key: str) -> float | None:
    """The number under `key`; None where there is none."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def share(record: Record, key: str) -> float | None:
    """The number from 0 to 1 under `key`; None where there is none."""
    value = number(record, key)
    return value if value is not None and 0 <= value <= 1 else None


def text(record: Record, key: str) -> str:
    """The text under `key`; empty where there is none."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def inner(record: Record, key: str) -> Record:
    """The record under `key`; empty where there is none."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def each(record: Record, key: str) -> tuple[Record, ...]:
    """The records of the list under `key`; empty where there is none."""
    value = record.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(entry for entry in value if isinstance(entry, Mapping))


def sentences(record: Record, key: str) -> tuple[str, ...]:
    """The texts of the list under `key`; empty where there is none."""
    value = record.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(entry for entry in value if isinstance(entry, str))


def numbers(record: Record, key: str) -> tuple[float, ...]:
    """The numbers of the list under `key`; empty where there is none."""
    value = record.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(float(entry) for entry in value if isinstance(entry, int | float))


def checked_record(record: Record, key: str, *, source: str) -> Record:
    """The record under `key`, which must be there."""
    value = record.get(key)
    if not isinstance(value, Mapping):
        raise InputRejectedError(f"{source}: {key} is {value!r:.60}, not a record")
    return value


def checked_records(record: Record, key: str, *, source: str) -> tuple[Record, ...]:
    """The list of records under `key`; empty where the key is missing."""
    value = record.get(key, ())
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(entry, Mapping) for entry in value)
    ):
        raise InputRejectedError(
            f"{source}: {key} is {value!r:.60}, not a list of records"
        )
    return tuple(value)
