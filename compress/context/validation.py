"""Records checked by pydantic, and what is wrong with one in a single sentence."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from runtime.errors import InputRejectedError, RecipeError
from runtime.typed import shown

UNKNOWN_KEY: Final = "extra_forbidden"
# A complaint of our own that names its place itself.
PLACED: Final = "placed"
Record = TypeVar("Record", bound=BaseModel)
# A place in a record, such as ("stages", 0, "distill", "alpha"), and what the user
# calls it: a key of a file, or a flag.
Location = tuple[int | str, ...]
Naming = Callable[[Location], str]


def keys_of(origin: str) -> Naming:
    """Name a place in a file: `origin: stages.0.distill.alpha`."""

    def named(location: Location) -> str:
        return ": ".join(filter(None, (origin, ".".join(map(str, location)))))

    return named


def complaint_about(place: Location, reason: str) -> PydanticCustomError:
    """What a validator of a whole record raises about one place in it."""
    known = {"place": place, "reason": reason}
    return PydanticCustomError(PLACED, "{reason}", known)


def record_from(kind: type[Record], record: object, named: Naming) -> Record:
    """Check `record`; a complaint is one sentence that starts with the place's name."""
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        raise RecipeError(explained(error, kind, named)) from None


def record_of_file(kind: type[Record], record: object, *, source: str) -> Record:
    """Check what a file that we once wrote says; it may be anybody's by now."""
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        raise InputRejectedError(explained(error, kind, keys_of(source))) from None


def explained(error: ValidationError, kind: type[BaseModel], named: Naming) -> str:
    """The first complaint of pydantic, in one sentence: where, what, what to do."""
    # A misspelt key explains the missing one, so it is told first.
    first = min(error.errors(), key=lambda each: each["type"] != UNKNOWN_KEY)
    where = named(tuple(first["loc"]))
    trouble, found = first["type"], first["input"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if trouble == UNKNOWN_KEY:
        known = known_keys(kind, tuple(first["loc"][:-1]))
        return f"{where}: unknown key{nearest(str(first['loc'][-1]), known)}{more}"
    if trouble == PLACED:
        place = (*first["loc"], *first["ctx"]["place"])
        return f"{named(place)}: {first['msg']}{more}"
    if trouble == "missing":
        return f"{where}: is missing{more}"
    reason = (
        first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    )
    return f"{where}: found {shown(found)}, which {lowered(reason)}{more}"


def lowered(reason: str) -> str:
    """A library's message as the end of our sentence."""
    return reason if reason.startswith("should") else f"is wrong: {reason}"


def known_keys(kind: type[BaseModel], location: Location) -> list[str]:
    """The keys that a recipe allows at `location`, read off the schema."""
    schema = kind.model_json_schema()
    node: Mapping[str, Any] = schema
    for part in location:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        options = [node, *node.get("anyOf", ())]
        target = next((o["$ref"] for o in options if "$ref" in o), None)
        if target is not None:
            node = schema["$defs"][target.rsplit("/", 1)[-1]]
    return sorted(node.get("properties", ()))


def nearest(word: str, known: list[str]) -> str:
    """The end of a sentence: what was probably meant, or what there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
