"""Runtimes and the formats they execute: one literal table, and who runs a file."""

import importlib
from dataclasses import dataclass
from typing import Any, Final

from runtime.artifact import Artifact
from runtime.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A runtime (inference engine); nothing of it is imported before it is used.

    formats: of files that it executes; module: its file below `runtime.backends`,
    which defines `session(artifact, *, threads)`, a `Session`, and `interpreter(path)`,
    which imports the library for `path` and gives its name and version, or raises
    MissingDependencyError; enables: what it is good for, for people.
    """

    name: str
    formats: tuple[str, ...]
    module: str
    enables: str

    def load(self) -> Any:  # noqa: ANN401  # a module, of which two functions are used
        """Import the backend's own file, which does not import its library yet."""
        return importlib.import_module(f"runtime.backends.{self.module}")


# The first one of a format is what runs it where nothing else was asked for.
BACKENDS: Final[dict[str, Backend]] = {
    each.name: each
    for each in (
        Backend(
            name="onnxruntime",
            formats=("onnx",),
            module="ort",
            enables="ONNX files on the CPU",
        ),
        Backend(
            name="litert",
            formats=("tflite",),
            module="litert",
            enables="TFLite files on the CPU, through XNNPACK",
        ),
    )
}


def backend_for(artifact: Artifact, runtime: str | None = None) -> Backend:
    """The backend named `runtime`, else the first of the file's format.

    A name that is not known, or that does not execute the format, is a RecipeError.
    """
    able = [each for each in BACKENDS.values() if artifact.format in each.formats]
    if runtime is None:
        return able[0]
    found = next((each for each in able if each.name == runtime), None)
    if found is None:
        known = ", ".join(each.name for each in able)
        raise RecipeError(
            f"runtime: {runtime!r} does not execute {artifact.path.name}; runtimes of "
            f"{artifact.format} files: {known}"
        )
    return found
