"""Keys of recipes that are sizes, times or shares: numbers, or texts with a unit.

One type serves the recipe, its JSON Schema and, by `compress.cli.flags`, the command line.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from runtime.units import SHARE, SHARE_OR_COUNT, SIZE_MB, TIME_MS, Quantity

_NOT_FINITE: Final = frozenset({"nan", "inf", "+inf", "-inf"})


@dataclass(frozen=True)
class Given:
    """Marks a number that may be given as a text in a unit: `2%`, `2MB`, `15ms`."""

    quantity: Quantity

    def read(self, found: object) -> object:
        """What a text says in what the key counts; anything else as it is."""
        if not isinstance(found, str):
            return found
        if found.strip().lower() in _NOT_FINITE:
            return float(found)  # which the record refuses, in a file as in a flag
        return self.quantity.number(found)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read texts before the number is held against its bounds."""
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        """Allow the texts that are read beside the number."""
        text = {"type": "string", "pattern": self.quantity.pattern}
        return {"anyOf": [handler(schema), text]}


Share = Annotated[float, Given(SHARE)]
OptionalShare = Annotated[float | None, Given(SHARE)]
OptionalShareOrCount = Annotated[float | None, Given(SHARE_OR_COUNT)]
OptionalSizeMb = Annotated[float | None, Given(SIZE_MB)]
OptionalTimeMs = Annotated[float | None, Given(TIME_MS)]
