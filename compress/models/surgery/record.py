"""What was cut out of a network, split or masked; plain data, no torch."""

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from runtime.errors import InputRejectedError, one_line

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Factorized(BaseModel):
    """A layer that became a product of thinner ones.

    linear, conv1x1: [in, out] as [in, r] [r, out], `ranks` (r,); tucker2: a k x k
    convolution between two 1x1 ones, `ranks` (r of the inputs, r of the outputs)
    (Kim et al. 2016).
    """

    model_config = _STRICT

    kind: Literal["linear", "conv1x1", "tucker2"]
    ranks: tuple[PositiveInt, ...] = Field(min_length=1, max_length=2)


class Widths(BaseModel):
    """The sizes of one module that differ from its architecture's.

    shapes: of its own parameters and buffers, by name, None for an axis that is as it
    was, so that a classifier may still be given other classes; counts: its attributes
    that are whole numbers, such as `in_channels` or `normalized_shape`.
    """

    model_config = _STRICT

    shapes: Mapping[str, tuple[PositiveInt | None, ...]] = {}
    counts: Mapping[str, NonNegativeInt | tuple[NonNegativeInt, ...]] = {}


class Surgery(BaseModel):
    """Everything that was done to an architecture, in the order it is done again.

    removed: residual blocks that are the identity now; factorized: layers that were
    split, by name; widths: modules that are thinner, by name, the parts of a split
    layer included; masked: parameters whose zeros stay zero in later training, by
    name, and the pattern that they lie in. No mask is kept: it is weight != 0.
    """

    model_config = _STRICT

    removed: tuple[str, ...] = ()
    factorised: Mapping[str, Factorized] = {}
    widths: Mapping[str, Widths] = {}
    masked: Mapping[str, str] = {}

    def without(self, blocks: tuple[str, ...]) -> "Surgery":
        """The same with `blocks` removed as well, and all that was done inside them."""
        gone = (*self.removed, *blocks)
        within = tuple(f"{block}." for block in gone)
        parts: dict[str, Mapping[str, object]] = {
            key: {
                name: what
                for name, what in getattr(self, key).items()
                if name not in gone and not name.startswith(within)
            }
            for key in ("factorised", "widths", "masked")
        }
        return self.model_copy(update={"removed": gone, **parts})

    @classmethod
    def from_record(cls, record: object, *, source: str) -> "Surgery":
        """Read what `model_dump` wrote and JSON kept; else an InputRejectedError."""
        try:
            return cls.model_validate_json(json.dumps(record))
        except ValueError as error:
            raise InputRejectedError(f"{source}: {one_line(error)}") from error


UNTOUCHED = Surgery()
