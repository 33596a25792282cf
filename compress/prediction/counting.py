"""Instruction counts of an inference in LiteRT on an emulated ARM core, by operator."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compress.devices.complaint import complaint
from compress.devices.emulated import emulated, needed, site
from compress.prediction.laps import (
    Event,
    Operator,
    Runs,
    Trace,
    instructions,
    together,
)
from runtime.errors import DeviceError, InputRejectedError

# Counts are of this version's kernels; another one would move calibrations.
LITERT: Final = "2.3.0"
_HERE: Final = Path(__file__).parent
_COMPILE_S: Final = 120.0
_PATIENCE_S: Final = 3600.0  # 10^10 instructions on a busy machine
_REFUSED: Final = 1  # of the guest: LiteRT said no


@dataclass(frozen=True, kw_only=True)
class Count:
    """One inference, counted: the same numbers each time.

    operators: in the order in which they ran; empty where they could not be told apart.
    whole: the interpreter's own share included, if that was counted; else as operators.
    """

    cpu: str
    runtime: str
    whole: Runs
    operators: tuple[Operator, ...]

    @property
    def instructions(self) -> int:
        """Of one inference."""
        return instructions(self.whole)


def counted(model: Path, *, cpu: str, once: bool = False) -> Count:
    """Count one inference of a TFLite file, one thread, on `cpu` (`emulated.CORES`).

    once: half the work, for large networks; what is not an operator is not counted.
    DeviceError if the emulation fails, InputRejectedError if LiteRT refuses the file.
    """
    packages = site([f"ai-edge-litert=={LITERT}"])
    with tempfile.TemporaryDirectory() as folder:
        plugin, trace = Path(folder) / "blocks.so", Path(folder) / "trace"
        events, file = Path(folder) / "events.json", Path(folder) / "model.tflite"
        file.symlink_to(model.absolute())  # the length of a name costs instructions
        _compile(plugin)
        done = emulated(
            [
                str(_HERE / "guest.py"),
                str(packages / "ai_edge_litert" / "libLiteRt.so"),
                str(file),
                str(events),
                *(["--once"] if once else []),
            ],
            cpu=cpu,
            packages=packages,
            patience_s=_PATIENCE_S,
            plugin=f"{plugin},out={trace}",
            # Otherwise names are looked up at the first call of each function.
            environment={"LD_BIND_NOW": "1"},
        )
        if done.returncode != 0:
            raise _failed(model, done)
        try:
            with trace.open(encoding="ascii") as lines:
                read = Trace.of(lines)
            seen = [Event(*each) for each in json.loads(events.read_text("utf-8"))]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DeviceError(
                f"{model}: counting on an emulated {cpu} gave no counts ({error}); "
                "Debian's own qemu-user has the plugins that this takes"
            ) from error
    return count_of(read, seen, cpu=cpu)


def count_of(trace: Trace, events: Sequence[Event], *, cpu: str) -> Count:
    """What a trace says; DeviceError if it does not say it of any inference."""
    operators = trace.operators(events)
    whole = trace.whole() or together(operators)
    if not whole:
        raise DeviceError("counting: operators cannot be told apart, and no whole")
    return Count(
        cpu=cpu,
        runtime=f"ai-edge-litert {LITERT}",
        whole=whole,
        operators=operators,
    )


def lacking() -> list[str]:
    """Debian packages that counting needs and that are not installed."""
    return [
        packages
        for program, packages in (
            ("qemu-aarch64", "qemu-user"),
            ("cc", "gcc libc6-dev"),
        )
        if shutil.which(program) is None
    ]


def _compile(plugin: Path) -> None:
    """Compile QEMU's plugin, which takes no header of QEMU."""
    words = [needed("cc", "gcc libc6-dev", what="counting instructions")]
    words += ["-shared", "-fPIC", "-O2", "-o", str(plugin), str(_HERE / "blocks.c")]
    try:
        done = subprocess.run(  # noqa: S603  # our own words, no shell
            words, capture_output=True, check=False, timeout=_COMPILE_S
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"cc: not done after {_COMPILE_S:.0f} s") from error
    if done.returncode != 0:
        raise DeviceError(f"cc: blocks.c does not compile: {complaint(done.stderr)}")


def _failed(
    model: Path, done: subprocess.CompletedProcess[bytes]
) -> DeviceError | InputRejectedError:
    """Why the guest ended; what LiteRT refuses is the file's fault."""
    said = complaint(done.stderr)
    if done.returncode == _REFUSED and said.startswith("LiteRt"):
        return InputRejectedError(f"{model}: {said}")
    if "plugin" in said:
        said += "; QEMU needs its plugins, which Debian's qemu-user has"
    return DeviceError(f"{model}: counting ended with {done.returncode}: {said}")
