"""The layers of a Keras file in the order of their work, nested models unfolded."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from compress.models.keras.file import KerasFile
from compress.models.keras.plan import IMAGE
from compress.models.keras.record import (
    Layer,
    Node,
    Operand,
    Place,
    references,
    snake,
)
from runtime.errors import InputRejectedError

# More than any network has; a file of a few kB can unfold to more than any memory.
_MOST_CALLS: Final = 5_000
_FUNCTIONAL: Final = ("Functional", "Model")
_MODELS: Final = (*_FUNCTIONAL, "Sequential")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A layer at work; operands are earlier calls by name, the image, or numbers."""

    name: str
    layer: Layer
    operands: tuple[Operand, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole network; `shape` is that of its images, [height, width, channels]."""

    calls: tuple[Call, ...]
    output: str
    shape: tuple[int | None, ...]


def graph_of(file: KerasFile) -> Graph:
    """Unfold what `file` describes; raises InputRejectedError where it is no chain
    of layers from one image to one answer.
    """  # noqa: D205  # one sentence
    unfolding = _Unfolding(file)
    output = unfolding.model(file.model, Place(names=(), keys=()), IMAGE)
    return Graph(calls=tuple(unfolding.calls), output=output, shape=unfolding.shape())


class _Unfolding:
    """The calls found so far."""

    def __init__(self, file: KerasFile) -> None:
        self.file: Final = file
        self.calls: Final[list[Call]] = []
        self.taken: Final[Counter[str]] = Counter()
        self.entered = 0
        self.inputs: Final[list[object]] = []  # shapes, the outermost model's first

    def refused(self, reason: str) -> InputRejectedError:
        """The error for a model as a whole."""
        return InputRejectedError(f"{self.file.path}: {reason}")

    def shape(self) -> tuple[int | None, ...]:
        """The shape of one input, as far as it is fixed."""
        match self.inputs:
            case [[_, *sides], *_]:
                return tuple(side if isinstance(side, int) else None for side in sides)
        raise self.refused("does not say which images it takes; build it, save again")

    def model(self, record: Mapping[str, object], place: Place, feed: str) -> str:
        """Unfold a model whose input is `feed`; the name of its answer."""
        kind, options = record.get("class_name"), record.get("config")
        if kind == "Sequential" and isinstance(options, list):  # Keras before 2.2
            options = {"layers": options}
        if not isinstance(options, dict) or not isinstance(options.get("layers"), list):
            raise self.refused(
                f"{kind} {place.title or 'model'!r} is written in Python, and code is "
                "never executed; rebuild it with the functional API"
            )
        if "build_input_shape" in options:
            self.inputs.append(options["build_input_shape"])
        placed = dict(self.placed(options["layers"], place))
        if len(placed) != len(options["layers"]):
            raise self.refused("two of its layers have one name; save it again")
        if kind == "Sequential":
            for layer, (inner, there) in placed.items():
                feed = self.called(inner, there, [feed], name=layer)
            return feed
        if kind not in _FUNCTIONAL:
            raise self.refused(f"model of class {kind}; allowed: {', '.join(_MODELS)}")
        return self.functional(options, placed, feed)

    def placed(
        self, records: Sequence[object], place: Place
    ) -> Iterator[tuple[str, tuple[Mapping[str, object], Place]]]:
        """Name every layer, and find the key that its weights are kept under."""
        taken: Counter[str] = Counter()
        for record in records:
            if not isinstance(record, dict) or not isinstance(
                options := record.get("config"), dict
            ):
                raise self.refused("describes a layer that is no record; save it again")
            kind = str(record.get("class_name"))
            name = str(record.get("name") or options.get("name") or kind)
            key = snake(kind)
            numbered = key if not taken[key] else f"{key}_{taken[key]}"
            taken[key] += 1
            there = Place(names=(*place.names, name), keys=(*place.keys, numbered))
            yield name, (record, there)

    def functional(
        self,
        options: Mapping[str, object],
        placed: Mapping[str, tuple[Mapping[str, object], Place]],
        feed: str,
    ) -> str:
        """Unfold a graph of layers, each after those that it reads."""
        (entry,) = self.one(options.get("input_layers"), "inputs")
        (last,) = self.one(options.get("output_layers"), "outputs")
        reads: dict[Node, list[Node | float]] = {}
        open_ends = [last]
        while open_ends:
            node = open_ends.pop()
            if node not in reads:
                reads[node] = [] if node == entry else self.read_by(node, placed)
                open_ends += [each for each in reads[node] if isinstance(each, tuple)]
        order = TopologicalSorter(
            {node: [e for e in r if isinstance(e, tuple)] for node, r in reads.items()}
        )
        values: dict[Node, str] = {}
        try:
            for node in order.static_order():
                record, there = placed[node[0]]
                operands: list[Operand] = [
                    values[each] if isinstance(each, tuple) else each
                    for each in reads[node]
                ]
                name = node[0] if not node[1] else f"{node[0]}#{node[1]}"
                values[node] = self.called(record, there, operands or [feed], name=name)
        except CycleError as error:
            raise self.refused("its layers form a circle; save it again") from error
        return values[last]

    def one(self, found: object, what: str) -> list[Node]:
        """The only input or output of a model."""
        found = list(found.values()) if isinstance(found, dict) else found
        nodes = [each for each in references(found) if isinstance(each, tuple)]
        if len(nodes) != 1:
            raise self.refused(
                f"has {len(nodes)} {what}; allowed: one image in, one answer out"
            )
        return nodes

    def read_by(
        self, node: Node, placed: Mapping[str, tuple[Mapping[str, object], Place]]
    ) -> list[Node | float]:
        """What a call reads: other calls, and numbers."""
        name, number = node
        nodes = placed[name][0].get("inbound_nodes") if name in placed else None
        if not isinstance(nodes, list) or not 0 <= number < len(nodes):
            raise self.refused(f"layer {name!r} is read but never called; save again")
        found = list(references(nodes[number]))
        if not any(isinstance(each, tuple) for each in found):
            raise self.refused(f"layer {name!r} does not depend on the image")
        return found

    def called(
        self,
        record: Mapping[str, object],
        place: Place,
        operands: Sequence[Operand],
        *,
        name: str,
    ) -> str:
        """Note one call; of a nested model, every call in it."""
        self.entered += 1
        if self.entered > _MOST_CALLS:
            raise self.refused(f"unfolds to more than {_MOST_CALLS} layers")
        kind, options = str(record.get("class_name")), record["config"]
        if kind in _MODELS:
            if len(operands) != 1 or not isinstance(operands[0], str):
                raise self.refused(f"the nested {name!r} has {len(operands)} inputs")
            return self.model(record, place, operands[0])
        layer = Layer(
            kind=kind,
            options=options,  # type: ignore[arg-type]  # `placed` has looked
            place=place,
            keras=self.file.version,
            path=str(self.file.path),
        )
        for key in ("batch_shape", "batch_input_shape"):
            if key in layer.options:
                self.inputs.append(layer.options[key])
        module = str(record.get("module") or "keras")
        if module.partition(".")[0] not in ("keras", "tf_keras") or ">" in kind:
            raise layer.refusal(f"its code is in {module}, and code is never executed")
        if kind == "InputLayer":
            return str(operands[0])
        prefix = "/".join(place.names[:-1])
        unique = f"{prefix}/{name}" if prefix else name
        self.taken[unique] += 1
        if self.taken[unique] > 1:  # a nested model that is called again
            unique += f"@{self.taken[unique]}"
        self.calls.append(Call(name=unique, layer=layer, operands=tuple(operands)))
        return unique
