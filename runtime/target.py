"""Devices as far as compression cares: one literal table."""

from dataclasses import dataclass
from typing import Final, Literal

from runtime.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a file for a device must look like, and how it is run there."""

    name: str
    format: Literal["onnx", "tflite"]
    dtype: Literal["float32", "int8"]
    runtime: Literal["onnxruntime", "litert"]
    threads: int = 1
    cpu_features: tuple[str, ...] = ()  # that the device must have; see `Machine`
    delegate: str | None = None


TARGETS: Final[dict[str, Target]] = {
    "local": Target(
        name="local", format="onnx", dtype="float32", runtime="onnxruntime"
    ),
}


def target(name: str) -> Target:
    """Look a target up by name."""
    if name not in TARGETS:
        raise RecipeError(
            f"targets: unknown target {name!r}; known: {', '.join(sorted(TARGETS))}"
        )
    return TARGETS[name]
