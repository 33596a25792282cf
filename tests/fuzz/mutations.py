"""Files made wrong, by chance that a number decides: bytes, and values of records."""

import copy
import json
import random
from collections.abc import Callable
from typing import Final

# Numbers that sizes, offsets and counts are confused by, little-endian.
_WORDS: Final = tuple(
    value.to_bytes(4, "little", signed=value < 0)
    for value in (0, 1, -1, 2**31 - 1, -(2**31), 2**16, 0x7F800000, 0x7FC00000)
)
_VALUES: Final[tuple[object, ...]] = (
    None,
    True,
    0,
    -1,
    8,
    1e9,
    10**30,
    2**63,
    -0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "x" * 5000,
    "../../etc/passwd",
    "\x1b[31m\u202e",
    "1",
    [],
    {},
    [[[[]]]],
    [0] * 1000,
    {"": None},
)

# What YAML and CSV read as more than letters.
_MARKS: Final = ("'", '"', "{", "[", "&a", "*a", "\0", "#")

Mutation = Callable[[bytes, random.Random], bytes]


def bytes_changed(content: bytes, chance: random.Random) -> bytes:
    """One to eight spots flipped, overwritten, cut out, doubled; or the end missing."""
    spoilt = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        if not spoilt:
            break
        place = chance.randrange(len(spoilt))
        size = chance.choice((1, 4, 16, 256))
        match chance.randrange(7):
            case 0 | 1:
                spoilt[place] ^= 1 << chance.randrange(8)
            case 2:
                spoilt[place] = chance.randrange(256)
            case 3:
                spoilt[place : place + 4] = chance.choice(_WORDS)
            case 4:
                del spoilt[place : place + size]
            case 5:
                spoilt[place:place] = spoilt[place : place + size]
            case _ if chance.random() < 0.3:  # or most would be short
                del spoilt[place:]
    return bytes(spoilt)


def head_changed(content: bytes, chance: random.Random) -> bytes:
    """The same near the beginning, where headers are."""
    cut = min(len(content), 4096)
    return bytes_changed(content[:cut], chance) + content[cut:]


def record_changed(content: bytes, chance: random.Random) -> bytes:
    """A JSON record in which values are others, missing, renamed or nested."""
    record = json.loads(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        record = _with_one_changed(record, chance)
    return json.dumps(record).encode("utf-8", "surrogatepass")


def lines_changed(content: bytes, chance: random.Random) -> bytes:
    """A text whose lines are doubled, lost, moved, indented, or hold something else."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                lines.insert(place, chance.choice(lines))
            case 1 if len(lines) > 1:
                del lines[place]
            case 2:
                lines[place] = "  " + lines[place]
            case 3:
                head, colon, _ = lines[place].partition(":")
                lines[place] = head + colon + " " + str(chance.choice(_VALUES))
            case 4:
                head, comma, rest = lines[place].partition(",")
                lines[place] = str(chance.choice(_VALUES)) + comma + rest
            case 5:
                lines[place] = lines[place].replace(" ", "\t")
            case _:
                lines[place] += chance.choice(
                    ("'", '"', "{", "[", "&a", "*a", "\0", "#")
                )
    return "\n".join(lines).encode("utf-8", "replace")


def _with_one_changed(record: object, chance: random.Random) -> object:
    """A copy with one value, somewhere in it, replaced."""
    spoilt = copy.deepcopy(record)
    places = list(_places(spoilt))
    if not places:
        return chance.choice(_VALUES)
    holder, key = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(key) + "_"] = holder.pop(key)
        case 2:
            holder[key] = [holder[key]]
        case 3:
            _, other = chance.choice(places)
            holder[key] = other
        case _:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return spoilt


def _places(record: object) -> list[tuple[dict[object, object] | list[object], object]]:
    """Every place where a record, however deep, holds a value."""
    found, parts = [], [record]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            found += [(part, key) for key in part]
            parts += part.values()
        elif isinstance(part, list):
            found += [(part, index) for index in range(len(part))]
            parts += part
    return found
