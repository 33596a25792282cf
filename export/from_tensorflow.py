"""A TensorFlow model, whether SavedModel, .h5 or .keras, as one TFLite file."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from export.hdf5 import try_out
from runtime.archive import check_list, unpacked
from runtime.artifact import Artifact
from runtime.errors import (
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
    one_line,
)
from runtime.files import sha256_of, written_whole
from runtime.plain_json import LARGEST_BYTES, json_record
from runtime.preprocess import Preprocess
from runtime.quiet import silence
from runtime.requirements import pip_line

Dtype = Literal["float32", "float16", "int8"]
Image = npt.NDArray[np.float32]

_KERAS: Final = (".h5", ".hdf5", ".keras")
_VERSIONED: Final = ("edgepress", "tensorflow", "tensorflow-cpu", "keras")


def to_tflite(  # noqa: PLR0913  # what a file must say about itself
    model: Path,
    path: Path,
    *,
    dtype: Dtype,
    images: Iterable[Image] | None = None,
    classes: tuple[str, ...] = (),
    preprocess: Preprocess | None = None,
    recipe_sha256: str | None = None,
    trusted: bool = False,
) -> Artifact:
    """Write `model`, a SavedModel folder or a Keras file, to `path` as TFLite.

    With "int8" weights, activations, input and output are INT8, their ranges taken from
    `images`, each [n, h, w, 3] as the model takes it; "float16" stores the weights so
    and computes in float32. `preprocess` says what the model is fed, in NHWC. The
    facts are kept in the file's sidecar. Raises RecipeError for what does not exist,
    InputRejectedError for a model that TensorFlow does not load or convert, or that
    holds code; of a SavedModel that is all of it, unless it is `trusted`.
    """
    _check(model, path, dtype=dtype, images=images, preprocess=preprocess)
    refuse_program(model, trusted=trusted)
    try:
        content = _converted(model, dtype=dtype, images=images)
    except (MissingDependencyError, InputRejectedError):
        raise
    except Exception as error:  # TensorFlow passes on whatever it meets
        raise InputRejectedError(
            f"{model}: TensorFlow does not convert it: {one_line(error)}; save it "
            "again, or choose another dtype"
        ) from error
    with written_whole(path) as draft:
        draft.write_bytes(content)
    artifact = Artifact(
        path=path,
        format="tflite",
        # A file with float16 weights is fed, and answers, in float32.
        dtype="int8" if dtype == "int8" else "float32",
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        classes=classes,
        preprocess=preprocess,
        recipe_sha256=recipe_sha256,
        versions=_versions(),
    )
    artifact.write_sidecar()
    return artifact


def refuse_program(model: Path, *, trusted: bool) -> None:
    """Refuse a SavedModel whose maker nobody vouches for.

    It is a program: TensorFlow runs its initializer when it opens it, and operators of
    a graph read and write files (tensorflow/SECURITY.md).
    """
    if model.is_dir() and not trusted:
        raise InputRejectedError(
            f"{model}: a SavedModel is a program, which TensorFlow runs when it opens "
            "it; add --trust if you know who made it, or give the model as .keras or "
            ".h5, of which nothing is run"
        )


def _check(
    model: Path,
    path: Path,
    *,
    dtype: Dtype,
    images: Iterable[Image] | None,
    preprocess: Preprocess | None,
) -> None:
    """Refuse, before TensorFlow is loaded, what cannot end well."""
    if path.suffix != ".tflite":
        raise RecipeError(f"export: {path}: the name must end in .tflite")
    if not model.exists():
        raise RecipeError(f"{model}: no such file or folder")
    if model.is_dir() and not (model / "saved_model.pb").is_file():
        raise RecipeError(f"{model}: is no SavedModel: it lacks saved_model.pb")
    if model.is_file() and model.suffix not in _KERAS:
        raise RecipeError(
            f"{model}: unknown kind of model; known: a SavedModel folder, "
            f"{', '.join(_KERAS)}"
        )
    if dtype == "int8" and images is None:
        raise RecipeError("export: int8 needs images that show which values occur")
    if preprocess is not None and preprocess.layout != "NHWC":
        raise RecipeError("export: a TensorFlow model takes NHWC images")


def _converted(model: Path, *, dtype: Dtype, images: Iterable[Image] | None) -> bytes:
    """Give the bytes of the file."""
    with silence(1, 2):
        try:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"export: {model}: needs {error.name}, which is not installed; "
                f"run: {pip_line('tensorflow')}"
            ) from error
        source = tf.lite.TFLiteConverter
        if model.is_dir():
            converter = source.from_saved_model(str(model))
        else:
            _refuse_code(model)
            depthwise = tf.keras.layers.DepthwiseConv2D
            # Keras 3 does not know the `groups: 1` that Keras 2 wrote.
            known = {
                "DepthwiseConv2D": lambda **rest: depthwise(
                    **{key: each for key, each in rest.items() if key != "groups"}
                )
            }
            loaded = tf.keras.models.load_model(
                model,
                custom_objects=None if model.suffix == ".keras" else known,
                compile=False,
                safe_mode=True,
            )
            converter = source.from_keras_model(loaded)
        if dtype == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        elif dtype == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = _one_by_one(images or ())
            only = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            converter.target_spec.supported_ops = [only]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _refuse_code(model: Path) -> None:
    """Refuse a Keras file that names code; Keras's own safe mode has had holes."""
    if model.suffix == ".keras":
        check_list(model)
        with zipfile.ZipFile(model) as archive:
            text = unpacked(archive, "config.json", largest=LARGEST_BYTES)
    else:
        import h5py

        try_out(model)
        with h5py.File(model, "r") as file:
            text = file.attrs["model_config"]
    parts: list[object] = [json_record(text, source=str(model))]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            kind, module = str(part.get("class_name")), str(part.get("module") or "")
            foreign = module.partition(".")[0] not in {"", "keras", "tf_keras"}
            if kind in {"Lambda", "__lambda__"} or (foreign and module != "builtins"):
                raise InputRejectedError(
                    f"{model}: holds Python code ({kind} {module}), which is never "
                    "executed; save the model with layers of Keras instead"
                )
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def _one_by_one(images: Iterable[Image]) -> Callable[[], Iterator[list[Image]]]:
    """What the converter calls for: images one at a time, in a list of inputs."""

    def each() -> Iterator[list[Image]]:
        for batch in images:
            for image in np.asarray(batch, np.float32):
                yield [image[None]]

    return each


def _versions() -> dict[str, str]:
    """Look up what makes the file."""
    found = {}
    for package in _VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
