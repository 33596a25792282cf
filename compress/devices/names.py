"""Names that `--device` gives a meaning to: what computes, and kinds of devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of devices: what stands before the colon of their names.

    module: its file below `compress.devices`, whose `open_device` takes what stands
    after the colon; here: whether they are this very machine, and disturb each other.
    """

    module: str
    here: bool


KINDS: Final[dict[str, Kind]] = {
    "cpu": Kind(module="local", here=True),
    "docker": Kind(module="container", here=True),
}
# What torch computes on; a name that is neither this nor of a kind is that of a board.
COMPUTING: Final = frozenset({"cpu", "cuda", "mps", "xpu", "hpu", "xla", "meta"})
# What no board may be called; a fleet's table is kept as `profile.json`.
TAKEN: Final = COMPUTING | KINDS.keys() | {"ssh", "profile"}
_LISTED: Final = 5  # devices that a sentence about many names


def is_here(name: str) -> bool:
    """Whether a device is this very machine."""
    kind = KINDS.get(name.partition(":")[0])
    return kind is not None and kind.here


def listed(names: Sequence[str]) -> str:
    """A few names of devices for a sentence, and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
