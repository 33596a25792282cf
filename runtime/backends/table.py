"""Runtimes and the formats they execute: one literal table, and who runs a file."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from runtime.artifact import Artifact
    from runtime.layers import LayerProfile
    from runtime.plan import Plan
    from runtime.profiled import Profile
    from runtime.session import Session
    from runtime.voice import Voice


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A runtime (inference engine); nothing of it is imported before it is used.

    formats: of files that it executes; enables: what it is good for, for people;
    module: its file below `runtime.backends`, which defines
    `session(artifact, *, threads, variant)`, a `Session`, and
    `interpreter(where, *, variant)`, which imports the library for `where` and gives
    its name and version, or raises MissingDependencyError or DeviceError; variant: what
    a library that has several engines calls this one; times_itself: it is a program
    that measures files and gives no answers, and has
    `profile(artifacts, plan, screen)`, which gives a `Profile`; layers: its file that
    defines `layer_times(artifact, *, threads, variant, rng)`, if it tells layers apart;
    distributions: what installs it, any of them; cpu: whether it computes on the CPU.
    """

    name: str
    formats: tuple[str, ...]
    module: str
    enables: str
    variant: str = ""
    times_itself: bool = False
    layers: str = ""
    distributions: tuple[str, ...] = ()
    cpu: bool = True

    def profile(
        self, artifacts: "Mapping[str, Artifact]", plan: "Plan", screen: "Voice"
    ) -> "Profile":
        """Let the program measure files, by the names they go by."""
        found: Profile = self._file().profile(artifacts, plan, screen)
        return found

    def session(self, artifact: "Artifact", *, threads: int) -> "Session":
        """Load a file; raises what `runtime.session.open_session` says."""
        found: Session = self._file().session(
            artifact, threads=threads, variant=self.variant
        )
        return found

    def interpreter(self, where: Path | str) -> str:
        """Import what runs the file at `where`; its name and version."""
        name: str = self._file().interpreter(where, variant=self.variant)
        return name

    def layer_times(
        self, artifact: "Artifact", *, threads: int, rng: "np.random.Generator"
    ) -> "LayerProfile":
        """Time the layers of a file; RecipeError where this runtime cannot tell."""
        if not self.layers:
            raise RecipeError(
                f"--layers: {self.name} does not tell the layers of "
                f"{artifact.path.name} apart; leave --runtime out"
            )
        file = importlib.import_module(f"runtime.backends.{self.layers}")
        found: LayerProfile = file.layer_times(
            artifact, threads=threads, variant=self.variant, rng=rng
        )
        return found

    def _file(self) -> Any:  # noqa: ANN401  # a module, of which two functions are used
        """Import the backend's own file, which does not import its library yet."""
        return importlib.import_module(f"runtime.backends.{self.module}")


_ONNXRUNTIME: Final = ("onnxruntime", "onnxruntime-gpu")

# The first one of a format is what runs it where nothing else was asked for.
BACKENDS: Final[dict[str, Backend]] = {
    each.name: each
    for each in (
        Backend(
            name="onnxruntime",
            formats=("onnx",),
            module="ort",
            distributions=_ONNXRUNTIME,
            layers="ort_layers",
            enables="ONNX files on the CPU",
        ),
        Backend(
            name="litert",
            formats=("tflite",),
            module="litert",
            distributions=("ai-edge-litert", "tflite-runtime", "tensorflow"),
            layers="litert_layers",
            enables="TFLite files on the CPU, through XNNPACK",
        ),
        Backend(
            name="onnxruntime-xnnpack",
            formats=("onnx",),
            module="ort",
            distributions=_ONNXRUNTIME,
            layers="ort_layers",
            variant="XnnpackExecutionProvider",
            enables="ONNX files on the CPU, float convolutions through XNNPACK",
        ),
        Backend(
            name="onnxruntime-cuda",
            formats=("onnx",),
            module="ort",
            distributions=_ONNXRUNTIME,
            layers="ort_layers",
            variant="CUDAExecutionProvider",
            cpu=False,
            enables="ONNX files on NVIDIA GPUs",
        ),
        Backend(
            name="onnxruntime-tensorrt",
            formats=("onnx",),
            module="ort",
            distributions=_ONNXRUNTIME,
            layers="ort_layers",
            variant="TensorrtExecutionProvider",
            cpu=False,
            enables="ONNX files on NVIDIA GPUs, through TensorRT",
        ),
        Backend(
            name="openvino",
            formats=("onnx", "tflite"),
            module="openvino",
            distributions=("openvino",),
            enables="ONNX and TFLite files on Intel's and ARM's CPUs",
        ),
        Backend(
            name="trtexec",
            formats=("onnx",),
            module="trtexec",
            enables="times and layers of ONNX files on NVIDIA GPUs, by TensorRT itself",
            times_itself=True,
            cpu=False,
        ),
        Backend(
            name="executorch",
            formats=("executorch",),
            module="executorch",
            distributions=("executorch",),
            enables="ExecuTorch programs (.pte) on the CPU, through XNNPACK",
        ),
    )
}


def distributions() -> tuple[str, ...]:
    """Whatever installs a runtime, by its name on a package index."""
    return tuple(
        dict.fromkeys(name for each in BACKENDS.values() for name in each.distributions)
    )


def ran_by(name: str, runtime: str) -> bool:
    """Whether `runtime`, as a session calls itself, is the backend `name`."""
    product, _, version = runtime.partition(" ")
    engine = version.partition("(")[2].removesuffix(")")
    found = BACKENDS.get(name)
    if found is None:
        return product == name
    return product in {name, *found.distributions} and engine == found.variant


def backend(name: str) -> Backend:
    """The backend of that name; RecipeError if there is none."""
    if name not in BACKENDS:
        raise RecipeError(
            f"--runtime {name}: not known; known: {', '.join(BACKENDS)}; "
            "`compress doctor` says which of them run here"
        )
    return BACKENDS[name]


def backend_for(artifact: "Artifact", runtime: str | None = None) -> Backend:
    """The backend named `runtime`, else the first of the file's format.

    A name that is not known, or that does not execute the format, is a RecipeError.
    """
    able = [each for each in BACKENDS.values() if artifact.format in each.formats]
    if runtime is None:
        return able[0]
    found = backend(runtime)
    if found not in able:
        raise RecipeError(
            f"--runtime {runtime}: does not execute {artifact.path.name}; runtimes of "
            f"{artifact.format} files: {', '.join(each.name for each in able)}"
        )
    return found
