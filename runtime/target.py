"""Devices as far as compression cares: one literal table."""

from dataclasses import dataclass
from typing import Final, Literal

from runtime.errors import RecipeError
from runtime.machine import Machine


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a file for a device must look like, and how it is run there.

    activations: how INT8 files store numbers between layers: `uint8`, `int8`, or int8
    `symmetric` about 0. saturates: the device adds two products with signed weights
    within 16 bits, which is too little for two large ones.
    """

    name: str
    format: Literal["onnx", "tflite"]
    dtype: Literal["float32", "int8"]
    runtime: Literal["onnxruntime", "tensorrt", "litert"]
    threads: int = 1
    cpu_features: tuple[str, ...] = ()  # that the device must have; see `Machine`
    delegate: str | None = None
    activations: Literal["uint8", "int8", "symmetric"] = "int8"
    saturates: bool = False


TARGETS: Final[dict[str, Target]] = {
    "local": Target(
        name="local", format="onnx", dtype="float32", runtime="onnxruntime"
    ),
    "x86-vnni": Target(
        name="x86-vnni",
        format="onnx",
        dtype="int8",
        runtime="onnxruntime",
        cpu_features=("avx512_vnni",),
        activations="uint8",
    ),
    "x86-avx2": Target(
        name="x86-avx2",
        format="onnx",
        dtype="int8",
        runtime="onnxruntime",
        cpu_features=("avx2",),
        activations="uint8",
        saturates=True,
    ),
    "arm64": Target(
        name="arm64",
        format="onnx",
        dtype="int8",
        runtime="onnxruntime",
        cpu_features=("asimd",),
    ),
    # TensorRT takes no zero points, and biases in float only.
    "jetson": Target(
        name="jetson",
        format="onnx",
        dtype="int8",
        runtime="tensorrt",
        activations="symmetric",
    ),
    "android": Target(
        name="android",
        format="tflite",
        dtype="int8",
        runtime="litert",
        delegate="xnnpack",
    ),
    "raspberry-pi": Target(
        name="raspberry-pi",
        format="tflite",
        dtype="int8",
        runtime="litert",
        delegate="xnnpack",
    ),
}
# Dot products of 8-bit numbers that add up in 32 bits; any of them will do.
_VNNI: Final = ("avx512_vnni", "avx_vnni", "amx_int8")


# Shorter names for what most people mean by them.
ALIASES: Final = {"x86": "x86-vnni"}


def target(name: str) -> Target:
    """Look a target up by name."""
    name = ALIASES.get(name, name)
    if name not in TARGETS:
        raise RecipeError(
            f"targets: unknown target {name!r}; known: {', '.join(sorted(TARGETS))}"
        )
    return TARGETS[name]


def int8_target(machine: Machine) -> Target:
    """The INT8 ONNX file that suits a machine, by its instruction sets."""
    if machine.arch.lower() not in {"x86_64", "amd64", "i686"}:
        return TARGETS["arm64"]
    fast = not set(_VNNI).isdisjoint(machine.features)
    return TARGETS["x86-vnni" if fast else "x86-avx2"]
