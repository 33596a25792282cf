"""A recipe: everything a run depends on, typed, checked before any work is done."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from compress.checked import complaint_about, keys_of, record_from
from compress.data.spec import DataSpec, from_source
from compress.models.spec import ModelSpec, from_name
from compress.plain_yaml import yaml_value
from compress.prediction.asked import (
    check_predicted,
    or_predicted,
    predicted_apart,
)
from compress.quantities import Given, Share
from compress.stages import STAGES
from compress.stages.stage import Stage, misplaced
from runtime.budget import Budget
from runtime.errors import RecipeError
from runtime.files import digest_of
from runtime.target import LOCAL, target
from runtime.units import Quantity

STRICT: Final = ConfigDict(
    frozen=True, extra="forbid", strict=True, allow_inf_nan=False
)


class OneStage(BaseModel):
    """A step of a recipe: one of the keys below, with its options."""

    model_config = STRICT

    @model_validator(mode="after")
    def exactly_one(self) -> "OneStage":
        """A step that names no stage, or two, is a slip of the pen."""
        if len(self.model_fields_set) != 1:
            raise ValueError("expected one stage, as in `- finetune: {epochs: 5}`")
        return self

    @property
    def name(self) -> str:
        """Which stage of the table it is."""
        return next(iter(self.model_fields_set))

    @property
    def stage(self) -> Stage:
        """The stage itself."""
        return cast("Stage", getattr(self, self.name))


class Export(BaseModel):
    """Which files a run writes, and what they have to prove."""

    model_config = STRICT

    to: tuple[Literal["onnx", "tflite", "executorch"], ...] = Field(
        default=("onnx",), strict=False, min_length=1, description="file formats"
    )
    dtype: tuple[Literal["float32", "float16", "dynamic", "int8"], ...] = Field(
        default=(),
        strict=False,
        description="number formats; by default int8 for what is quantised, else "
        "float32",
    )
    target: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="devices whose kernels INT8 files are laid out for; by default "
        "this machine",
    )
    around: Literal["float16"] | None = Field(
        default=None,
        description="numbers around INT8 in files for TensorRT, which computes as a "
        "file is typed from version 11 on; by default float32",
    )
    optimize: Literal["latency", "none"] | None = Field(
        default=None,
        description="latency: parts of an INT8 network that are faster in float on "
        "this machine stay float; by default where a target is named",
    )
    device: str | None = Field(
        default=None,
        description="what measures files and candidates, by its name in the inventory; "
        "by default this machine",
    )
    io: Literal["float32", "int8"] = Field(
        default="float32", description="numbers at the edges of an INT8 TFLite file"
    )
    batch: Literal["static", "dynamic"] = Field(
        default="static", description="one image a call, or any number"
    )
    selftest: bool = Field(
        default=True,
        description="let files carry three small images and their scores, at most "
        "41 kB, by which a device checks itself; no limit on size counts them",
    )
    agreement: Share = Field(
        default=0.99,
        ge=0,
        le=1,
        description="share of images on which file and network must choose alike",
    )

    @field_validator("target")
    @classmethod
    def that_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """An unknown device is better told now than after the training."""
        for name in names:
            target(name)
        return names

    @model_validator(mode="after")
    def that_take_the_numbers(self) -> "Export":
        """A device without INT8 is no target of INT8 files alone."""
        for name in self.target:
            floats = name != LOCAL and target(name).dtype == "float32"
            if floats and self.dtype and "float32" not in self.dtype:
                raise RecipeError(
                    f"export: {name} computes no INT8; add float32 to dtype, or leave "
                    "dtype out"
                )
        return self


def _counted(kind: object, metadata: Mapping[str, Quantity]) -> object:
    """The type of a limit's key: in a unit, where it counts something."""
    quantity = metadata.get("quantity")
    return kind if quantity is None else Annotated[kind, Given(quantity)]


# Two records are made of tables, so that one definition serves both: the table of
# stages is the schema of a step, the runtime's record of limits that of a budget.
# A type checker, which cannot look into tables, sees what they extend.
if TYPE_CHECKING:
    Step = OneStage
    Limits = BaseModel
else:
    Step: Final = create_model(
        "Step",
        __base__=OneStage,
        **{name: (kind | None, None) for name, kind in STAGES.items()},
    )
    Limits: Final = create_model(
        "Limits",
        __config__=ConfigDict(**STRICT, json_schema_extra=or_predicted),
        __validators__={"split": model_validator(mode="before")(predicted_apart)},
        **{
            limit.name: (
                _counted(get_type_hints(Budget)[limit.name], limit.metadata),
                Field(default=None, description=limit.metadata["help"]),
            )
            for limit in fields(Budget)
        },
    )


class Recipe(BaseModel):
    """What goes in, what is done to it, what comes out, and what it must reach."""

    model_config = STRICT

    version: Literal[1] = Field(default=1, description="of the recipe format")
    name: str = Field(min_length=1, max_length=100, description="of the run")
    model: Annotated[ModelSpec, BeforeValidator(from_name)]
    data: Annotated[DataSpec, BeforeValidator(from_source)] = DataSpec()
    stages: tuple[Step, ...] = Field(default=(), strict=False)
    export: Export = Export()
    budget: Limits = Limits()
    seed: int = Field(default=0, ge=0, lt=2**32, description="of every draw of chance")

    @model_validator(mode="after")
    def with_limits_that_mean_something(self) -> "Recipe":
        """Let the record of limits judge them now, not after the training."""
        check_predicted(self.limits(), self.export.to)
        return self

    @model_validator(mode="after")
    def in_an_order_that_works(self) -> "Recipe":
        """Refuse a stage that cannot take what the one before it gives."""
        if (found := misplaced(tuple(self.steps()))) is not None:
            place, reason = found
            name = self.stages[place].name
            raise complaint_about(("stages", place, name), reason)
        return self

    def steps(self) -> Iterator[tuple[str, Stage]]:
        """Every stage, with its name, in order."""
        return ((step.name, step.stage) for step in self.stages)

    def limits(self) -> Budget:
        """What the result may cost."""
        return Budget(**self.budget.model_dump())

    def as_record(self) -> dict[str, object]:
        """Plain data: the recipe with every default spelled out, without code paths."""
        return self.model_dump(mode="json", exclude_none=True)

    def digest(self) -> str:
        """The name of exactly this recipe, in hex."""
        return digest_of(self.as_record(), self.model.factory)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; YAML as plain data, no tags, no code."""
    record = yaml_value(path)
    if not isinstance(record, Mapping):
        raise RecipeError(f"{path}: expected keys such as `model:` and `stages:`")
    if names_code(record):
        raise RecipeError(
            f"{path}: factory: a recipe carries no code; name your own network on the "
            "command line with --model-file"
        )
    return record_from(Recipe, record, keys_of(str(path)))


def names_code(record: object) -> bool:
    """Whether anything in `record`, however deep, names a factory to be called.

    Each part is looked at once, so that YAML's aliases can neither loop nor explode.
    """
    seen: set[int] = set()
    parts = [record]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            if "factory" in part:
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False


def written(recipe: Recipe) -> str:
    """The recipe as YAML that `read_recipe` accepts."""
    return yaml.safe_dump(recipe.as_record(), sort_keys=False, allow_unicode=True)
