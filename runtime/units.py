"""Limits in people's units: `2MB`, `2%`, `15ms`, `1.2G`, as numbers of one unit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

_NUMBER: Final = (
    r"[+-]?(?:[0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?"
)
_QUANTITY: Final = re.compile(rf"\s*({_NUMBER})\s*([^0-9\s]*)\s*")
# Beyond an exabyte, an exaflop or a billion years nothing is limited.
_MOST: Final = Decimal(10) ** 18


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a limit is a number of, and which other units it may be given in.

    metavar: what stands for it in help; what: the quantity, with its article; plain:
    what a number without a unit counts; factors: how much of that each unit is, by the
    unit's usual spelling; whole: only whole numbers of it make sense.
    """

    metavar: str
    what: str
    plain: str
    factors: Mapping[str, Decimal] = field(hash=False)
    whole: bool = False

    def number(self, text: str) -> float:
        """Read a number with a unit or without; capitals and spaces do not matter.

        Raises ValueError with the end of a sentence that says what is allowed.
        """
        factors = {name.lower(): factor for name, factor in self.factors.items()}
        found = _QUANTITY.fullmatch(text)
        factor = factors.get(found[2].lower(), None if found[2] else 1) if found else 0
        if found is None or factor is None:
            *names, last = self.factors
            known = f"{', '.join(names)} or {last}" if names else last
            raise ValueError(
                f"should be {self.what}: {self.plain}, or a number with {known}"
            )
        # Decimal, so that 2.2 % is 0.022 and not a bit beside it.
        value = Decimal(found[1]) * factor
        if abs(value) > _MOST:
            raise ValueError(f"is more than {_MOST:.0e}, which is no limit")
        return round(value) if self.whole else float(value)

    @property
    def pattern(self) -> str:
        """The texts that `number` reads, as a regular expression of JSON Schema."""
        names = "|".join(map(_either_case, self.factors))
        return rf"^\s*{_NUMBER}\s*(?:{names})?\s*$"


def _either_case(name: str) -> str:
    """A regular expression for `name` in capitals or not; JSON Schema has no flags."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in name)


def _sizes(one: int) -> dict[str, Decimal]:
    """Units of size in terms of `one`, which is so many bytes."""
    sizes = {"B": 1}
    for power, letter in enumerate("KMG", start=1):
        sizes |= {f"{letter}B": 1000**power, f"{letter}iB": 1024**power}
    return {
        name.replace("KB", "kB"): Decimal(size) / one for name, size in sizes.items()
    }


SIZE_BYTES: Final = Quantity(
    metavar="SIZE", what="a size", plain="bytes", factors=_sizes(1), whole=True
)
SIZE_MB: Final = Quantity(
    metavar="SIZE", what="a size", plain="10^6 bytes", factors=_sizes(1_000_000)
)
TIME_MS: Final = Quantity(
    metavar="TIME",
    what="a time",
    plain="milliseconds",
    factors={"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000)},
)
_PERCENT: Final = {"%": Decimal("0.01")}
SHARE: Final = Quantity(
    metavar="SHARE", what="a share", plain="a fraction", factors=_PERCENT
)
# Of something that is counted: so much of what there was, or so many.
SHARE_OR_COUNT: Final = Quantity(
    metavar="SHARE",
    what="a share or a count",
    plain="a fraction",
    factors=_PERCENT | {"k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9)},
)
