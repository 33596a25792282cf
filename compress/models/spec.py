"""What a recipe may say about a model; plain data, no torch."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    model_validator,
)

from compress.models.origin import Origin
from compress.models.surgery.record import UNTOUCHED, Surgery

# What the numbers of a network are: learnt in float, or rounded for integer kernels.
Precision = Literal["float", "int8"]
CALLED: Final[dict[Precision, str]] = {
    "float": "a float network",
    "int8": "an INT8 network",
}


class CodePath(str):
    """FILE.py:FUNCTION as the user gave it: code that may be executed.

    The command line makes these, and nothing that reads a file does: what a record
    holds is a plain text, which a spec does not take for code.
    """

    __slots__ = ()


def given_by_the_user(found: object) -> CodePath | None:
    """Let only what somebody made a CodePath of name code."""
    if found is None or isinstance(found, CodePath):
        return found
    raise ValueError(
        "names code, which is never taken from a file; give your own network on the "
        "command line with --model-file"
    )


class ModelSpec(BaseModel):
    """A model by name, and how it is made to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(
        description="architecture, run directory, saved model or Keras file"
    )
    weights: str | None = Field(
        default=None,
        description="checkpoint file (.safetensors, .pt, .pth), or 'pretrained'",
    )
    # None and not False, so that the digests of recipes from before it stay.
    ema: bool | None = Field(
        default=None,
        description="take the averaged weights (EMA) of a checkpoint that has both",
    )
    width: float = Field(
        default=1.0, gt=0, le=8, description="multiplier of every layer's channels"
    )
    resolution: float = Field(
        default=1.0, gt=0, le=8, description="multiplier of the input's side"
    )
    stem: Literal["keep", "small"] = Field(
        default="keep",
        description="small: stride-1 stem without pooling, for images near 32x32",
    )
    factory: Annotated[CodePath | None, PlainValidator(given_by_the_user)] = Field(
        default=None,
        exclude=True,
        description="FILE.py:FUNCTION of the user's own network; command line only",
    )
    # Layers that no library has; never in a recipe, always in a saved model.
    _plan: Mapping[str, object] | None = PrivateAttr(default=None)
    _surgery: Surgery = PrivateAttr(default=UNTOUCHED)
    # A network that a program holds; neither in a recipe nor in a saved model.
    _origin: Origin | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def that_has_averages(self) -> "ModelSpec":
        """Only a checkpoint may hold weights and their averages."""
        if self.ema and self.weights in {None, "pretrained"}:
            raise ValueError("averaged weights are a checkpoint's; name one as weights")
        return self

    @property
    def plan(self) -> Mapping[str, object] | None:
        """The layers that a Keras file held, as plain data (`compress.models.keras`).

        They travel with the spec, so that the file itself is not needed again.
        """
        return self._plan

    def with_plan(self, plan: Mapping[str, object] | None) -> "ModelSpec":
        """The same spec around these layers."""
        copy = self.model_copy()
        copy._plan = plan  # noqa: SLF001  # our own, and nobody else has seen it
        return copy

    @property
    def surgery(self) -> Surgery:
        """What was cut out of the architecture, split or masked since it was built.

        It travels with the spec, so that whoever builds from it builds the same.
        """
        return self._surgery

    def with_surgery(self, surgery: Surgery) -> "ModelSpec":
        """The same architecture after `surgery`, which replaces any earlier one."""
        copy = self.model_copy()
        copy._surgery = surgery  # noqa: SLF001  # as above
        return copy

    @property
    def origin(self) -> Origin | None:
        """The user's own network as it was, where a program handed it over."""
        return self._origin

    def with_origin(self, origin: Origin | None) -> "ModelSpec":
        """The same spec, built from `origin` instead of by its name."""
        copy = self.model_copy()
        copy._origin = origin  # noqa: SLF001  # as above
        return copy

    def built_as(self, other: "ModelSpec | None") -> "ModelSpec":
        """The same spec, built by the user's code that `other` has, if it has any."""
        factory = None if other is None else other.factory
        copy = self.model_copy(update={"factory": factory})
        return copy.with_origin(None if other is None else other.origin)

    @property
    def code(self) -> str | None:
        """What of the user's own builds it: FILE.py:FUNCTION, or a module's class."""
        return self.factory if self.origin is None else self.origin.name


def from_name(found: object) -> object:
    """Let a recipe say `model: resnet50` for `model: {name: resnet50}`.

    A network of the user's own is called as its file is, if nothing else is said.
    """
    if isinstance(found, str):
        return {"name": found}
    if isinstance(found, dict) and "name" not in found and found.get("factory"):
        file, _, _ = str(found["factory"]).rpartition(":")
        return {**found, "name": PurePath(file).stem or "own"}
    return found


def is_saved_model(name: str) -> bool:
    """Whether `name` is a folder that TensorFlow wrote: a graph without layers."""
    return Path(name, "saved_model.pb").is_file()
