"""A Keras network as a list of torch's own layers: plain data, which JSON can keep."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Final

from runtime.errors import RecipeError
from runtime.preprocess import Side
from runtime.typed import Between, record_as

IMAGE: Final = "(image)"  # the value that a network begins with
# What may stand between the last layer with weights and the logits.
_PASSING: Final = (
    "adaptive_average",
    "dropout",
    "flatten",
    "largest",
    "reshape",
    "relu",
    "sigmoid",
    "softmax",
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One layer at work: `module` of that `kind` turns `inputs` into `name`.

    `inputs` are names of earlier steps, or numbers; `options` are what the kind's
    torch module is made with. Steps that share a module share its weights.
    """

    name: str
    kind: str
    module: str
    inputs: tuple[str | float, ...]
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in the order of their execution, from the image to the logits.

    side: of the input it was made for, pixels; None: any; `outputs`: how many logits.
    """

    steps: tuple[Step, ...]
    output: str
    outputs: Annotated[int, Between(0, 1_000_000)]
    side: Side | None = None

    def as_record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_record(
        cls, record: Mapping[str, object], *, source: str = "keras"
    ) -> "Plan":
        """Read back what `as_record` wrote, also after a journey through JSON."""
        return record_as(cls, record, source=source)

    @property
    def first(self) -> Step | None:
        """What is done to the image first."""
        return next((step for step in self.steps if IMAGE in step.inputs), None)

    def with_outputs(self, outputs: int) -> "Plan":
        """The same network with a head of `outputs` logits."""
        if outputs == self.outputs:
            return self
        tail = {step.name for step in self._tail()}
        if not tail:
            raise RecipeError(
                "keras: the network does not end in a Dense or Conv2D layer, so it "
                "cannot be given a head for other classes; name data of its own"
            )
        return replace(
            self,
            outputs=outputs,
            steps=tuple(
                _resized(step, self.outputs, outputs) if step.name in tail else step
                for step in self.steps
            ),
        )

    def without_softmax(self) -> tuple["Plan", str | None]:
        """The same network up to its logits, and the module that is left out, if any.

        After the softmax the scores may still be brought into a row.
        """
        by_name = {step.name: step for step in self.steps}
        last = by_name.get(self.output)
        while last is not None and last.kind in {"dropout", "flatten", "reshape"}:
            last = by_name.get(str(last.inputs[0]))
        if last is None or last.kind != "softmax":
            return self, None
        before = str(last.inputs[0])
        steps = tuple(
            replace(step, inputs=(before,)) if step.inputs == (last.name,) else step
            for step in self.steps
            if step is not last
        )
        output = before if self.output == last.name else self.output
        return replace(self, steps=steps, output=output), last.module

    def _tail(self) -> Iterator[Step]:
        """Give the steps from the logits back to the head; none if there is no head."""
        by_name = {step.name: step for step in self.steps}
        found, name = [], self.output
        while (step := by_name.get(name)) is not None:
            found.append(step)
            if _width(step) == self.outputs:
                yield from found
                return
            if step.kind not in _PASSING or not isinstance(step.inputs[0], str):
                return
            name = step.inputs[0]


def _width(step: Step) -> int | None:
    """How many outputs a layer that may be a head has."""
    key = {"linear": "out_features", "conv": "out_channels"}.get(step.kind, "")
    width = step.options.get(key)
    alone = step.options.get("groups", 1) == 1
    return width if isinstance(width, int) and alone else None


def _resized(step: Step, before: int, after: int) -> Step:
    """The step as it is where there are `after` outputs instead of `before`."""
    options = dict(step.options)
    for key in ("out_features", "out_channels"):
        if key in options:
            options[key] = after
    shape = options.get("shape")
    if isinstance(shape, list | tuple):
        options["shape"] = [after if side == before else side for side in shape]
    return replace(step, options=options)
