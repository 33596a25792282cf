"""One layer as a Keras file describes it: where it is, its options, what it reads."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.errors import InputRejectedError

Operand = str | float
Node = tuple[str, int]  # a layer by name, and which of its calls


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a layer is in its model: names and container keys, outermost first.

    .h5 files keep weights under the names, .keras files under the keys, which are the
    layer's class and a number, such as `conv2d_1`.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def title(self) -> str:
        """The layer as a user knows it."""
        return "/".join(self.names)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as the file describes it."""

    kind: str
    options: Mapping[str, object]
    place: Place
    keras: int  # major version
    path: str

    def refusal(self, reason: str) -> InputRejectedError:
        """The error for a layer that cannot be translated."""
        return InputRejectedError(
            f"{self.path}: layer {self.place.title!r} ({self.kind}): {reason}"
        )

    def number(self, key: str, default: float) -> float:
        """A number; Keras 2 wraps some of them up."""
        value = self.options.get(key)
        if isinstance(value, dict):
            value = value.get("value")
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal(f"{key} is {value!r}, not a number")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no."""
        return bool(self.options.get(key, default))

    def text(self, key: str, default: str) -> str:
        """A word."""
        return str(self.options.get(key) or default)

    def pair(self, key: str, default: int | None = 1) -> tuple[int, int]:
        """Height and width."""
        value = self.options.get(key)
        value = default if value is None else value
        sides = [value, value] if isinstance(value, int) else value
        match sides:
            case [int(high), int(wide)]:
                return high, wide
        raise self.refusal(f"{key} is {value!r}, not two whole numbers")


def references(found: object) -> Iterator[Node | float]:
    """Every call and number that the arguments of a call name, in their order.

    Keras 2 writes ["conv1", 0, 0, {"y": 3.0}], Keras 3 a record with a keras_history.
    """
    match found:
        case int() | float() if not isinstance(found, bool):
            yield float(found)
        case ["_CONSTANT_VALUE", int(), float() | int() as value, *rest]:
            yield from references([value, *rest])
        case [str(name), int(number), int(), *rest]:
            yield name, number
            yield from references(rest)
        case {"class_name": "__keras_tensor__", "config": {"keras_history": history}}:
            yield from references(history)
        case {"args": arguments, "kwargs": options}:
            yield from references([arguments, options])
        case list():
            for each in found:
                yield from references(each)
        case dict():  # of everything a call may name, only these are tensors
            yield from references([found.get("x"), found.get("inputs"), found.get("y")])


def snake(name: str) -> str:
    """`DepthwiseConv2D` as `depthwise_conv2d` (keras.src.utils.naming)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
