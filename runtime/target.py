"""Devices as far as compression cares: one literal table."""

from dataclasses import dataclass
from typing import Final, Literal

from runtime import traps
from runtime.errors import RecipeError
from runtime.machine import Machine
from runtime.traps import Trap

# Dot products of 8-bit numbers that add up in 32 bits; any of them will do.
_VNNI: Final = ("avx512_vnni", "avx_vnni", "amx_int8")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an INT8 ONNX file stores numbers; its name stands in the file's name.

    activations: between layers, as `uint8`, `int8`, or int8 `symmetric` about 0.
    saturates: the device adds two products with signed weights within 16 bits, which
    is too little for two large ones.
    """

    name: str
    activations: Literal["uint8", "int8", "symmetric"]
    saturates: bool = False


# Files carry these names, whichever device they were asked for: do not rename.
_X86_VNNI: Final = Layout(name="x86-vnni", activations="uint8")
_X86_AVX2: Final = Layout(name="x86-avx2", activations="uint8", saturates=True)
_ARM64: Final = Layout(name="arm64", activations="int8")
# TensorRT takes no zero points, and biases in float only.
_JETSON: Final = Layout(name="jetson", activations="symmetric")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a file for a device must look like, and how it is run there.

    layout: of INT8 ONNX files; None where one file of the format serves every device,
    or where `dtype` is float32. runtime: a name of `runtime.backends.table`. threads:
    what latencies for this device are taken with. cpu_features: of which the device
    has at least one; see `Machine.features`. cores: as `Machine.cpu` calls them, where
    features do not tell the device from another. fits: which devices that means, for
    people.
    """

    name: str
    fits: str
    format: Literal["onnx", "tflite"]
    dtype: Literal["float32", "int8"]
    runtime: str
    layout: Layout | None = None
    threads: int = 1
    cpu_features: tuple[str, ...] = ()
    cores: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()

    @property
    def rounds_reads(self) -> bool:
        """Whether INT8 kernels go on in float until the next one rounds: TensorRT."""
        return self.layout is not None and self.layout.activations == "symmetric"

    def lacking(self, machine: Machine) -> str | None:
        """Why `machine` is not such a device, as a clause; None if it may be one."""
        told = machine.cpu != machine.arch  # some systems do not tell the core
        if told and self.cores and not any(core in machine.cpu for core in self.cores):
            return f"{machine.cpu} is no {' or '.join(self.cores)}"
        known, wanted = machine.features, self.cpu_features
        if not known or not wanted or not set(wanted).isdisjoint(known):
            return None
        return f"{machine.cpu} has no {' or '.join(wanted)}"


TARGETS: Final[dict[str, Target]] = {
    each.name: each
    for each in (
        Target(
            name="local",
            fits="this machine, whatever it is",
            format="onnx",
            dtype="float32",
            runtime="onnxruntime",
        ),
        Target(
            name="x86-vnni",
            fits="x86-64 with VNNI: Intel Ice Lake, Alder Lake, AMD Zen 4 or later",
            format="onnx",
            dtype="int8",
            runtime="onnxruntime",
            layout=_X86_VNNI,
            cpu_features=_VNNI,
            traps=(traps.NEEDS_VNNI, traps.MACHINES_DIFFER),
        ),
        Target(
            name="x86-avx2",
            fits="x86-64 without VNNI: Intel since Haswell, AMD since Zen",
            format="onnx",
            dtype="int8",
            runtime="onnxruntime",
            layout=_X86_AVX2,
            cpu_features=("avx2",),
            traps=(traps.SATURATES, traps.MACHINES_DIFFER),
        ),
        Target(
            name="generic-arm64",
            fits="64-bit ARM with Linux and ONNX Runtime",
            format="onnx",
            dtype="int8",
            runtime="onnxruntime",
            layout=_ARM64,
            cpu_features=("asimd",),
            traps=(traps.PROVEN_ELSEWHERE, traps.OLD_DOT_PRODUCT),
        ),
        Target(
            name="rpi4",
            fits="Raspberry Pi 4, 400, CM4 (Cortex-A72)",
            format="tflite",
            dtype="int8",
            runtime="litert",
            threads=4,
            cpu_features=("asimd",),
            cores=("Cortex-A72",),
            traps=(traps.NO_DOT_PRODUCT, traps.PI_THROTTLES, traps.SIXTY_FOUR_BITS),
        ),
        Target(
            name="rpi5",
            fits="Raspberry Pi 5, 500, CM5 (Cortex-A76)",
            format="tflite",
            dtype="int8",
            runtime="litert",
            threads=4,
            cpu_features=("asimddp",),
            cores=("Cortex-A76",),
            traps=(
                traps.PER_TENSOR,
                traps.PI_THROTTLES,
                traps.PI_SUPPLY,
                traps.SIXTY_FOUR_BITS,
            ),
        ),
        Target(
            name="jetson-orin",
            fits="Jetson AGX Orin, Orin NX, Orin Nano (JetPack 6 and 7)",
            format="onnx",
            dtype="int8",
            runtime="trtexec",
            layout=_JETSON,
            cpu_features=("asimddp",),
            cores=("Cortex-A78AE",),
            traps=(
                traps.FP16_FIRST,
                traps.QDQ_RULES,
                traps.TWO_DIALECTS,
                traps.NO_ORT_GPU,
            ),
        ),
        Target(
            name="jetson-nano",
            fits="Jetson Nano of 2019 (JetPack 4.6)",
            format="onnx",
            dtype="float32",
            runtime="trtexec",
            cpu_features=("asimd",),
            cores=("Cortex-A57",),
            traps=(traps.NO_INT8_GPU, traps.OLD_OPSET),
        ),
        Target(
            name="android-arm64",
            fits="Android with LiteRT, arm64-v8a",
            format="tflite",
            dtype="int8",
            runtime="litert",
            threads=4,
            cpu_features=("asimd",),
            traps=(traps.NO_NNAPI, traps.BIG_AND_LITTLE, traps.UNTESTED),
        ),
    )
}

LOCAL: Final = "local"
# Shorter and older names; each means the same file.
ALIASES: Final = {
    "x86": "x86-vnni",
    "arm64": "generic-arm64",
    "raspberry-pi": "rpi4",
    "jetson": "jetson-orin",
    "android": "android-arm64",
}


def known_target(name: str | None) -> Target | None:
    """The target of that name, or of that layout; None where it is not known."""
    return None if name is None else TARGETS.get(ALIASES.get(name, name))


def target(name: str) -> Target:
    """Look a target up by name, or by the name of a layout."""
    found = known_target(name)
    if found is None:
        raise RecipeError(
            f"targets: unknown target {name!r:.80}; "
            f"known: {', '.join(sorted(TARGETS))}; `compress targets` describes them"
        )
    return found


def misplaced(layout: str | None, machine: Machine) -> str | None:
    """Why a file of `layout` is not for `machine`, as a clause; None if it may be.

    A name that is not known comes from elsewhere and says nothing.
    """
    found = known_target(layout)
    return None if found is None else found.lacking(machine)


def int8_target(machine: Machine) -> Target:
    """The INT8 ONNX file that suits a machine, by its instruction sets."""
    if machine.arch.lower() not in {"x86_64", "amd64", "i686"}:
        return TARGETS["generic-arm64"]
    fast = not set(_VNNI).isdisjoint(machine.features)
    return TARGETS["x86-vnni" if fast else "x86-avx2"]
