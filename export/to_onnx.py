"""A torch classifier as one self-contained ONNX file, the same bytes every time."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from export.refusal import refusal
from runtime.artifact import Artifact
from runtime.errors import (
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
    one_line,
)
from runtime.files import sha256_of, written_whole
from runtime.preprocess import Preprocess

INPUT: Final = "image"
OUTPUT: Final = "logits"
# A protobuf message ends at 2 GiB; the graph itself needs a little of that.
_FILE_LIMIT_BYTES: Final = (1 << 31) - (1 << 24)
_VERSIONED: Final = ("edgepress", "torch", "onnx", "onnxscript")


def to_onnx(  # noqa: PLR0913  # what a file must say about itself
    net: nn.Module,
    *,
    size: int,
    path: Path,
    batch: Literal["static", "dynamic"] = "dynamic",
    classes: tuple[str, ...],
    preprocess: Preprocess,
    recipe_sha256: str,
    name: str,
) -> Artifact:
    """Write `net`, a classifier of float32 [n, 3, size, size] images, to `path`.

    The file has one input, `image`, and one output, `logits` [n, classes]; n is 1 with
    a static batch. `net` is left as it is. Labels, preprocessing, the recipe's digest
    and versions are kept in the file and in its twin. A network that does not fit is an
    InputRejectedError, one above 2 GB a RecipeError, both before anything is written.
    """
    weights_bytes = sum(
        each.numel() * 4 for each in (*net.parameters(), *net.buffers())
    )
    if weights_bytes > _FILE_LIMIT_BYTES:
        raise RecipeError(
            f"export: {name} has {weights_bytes / 1e9:.2f} GB of weights, an ONNX file "
            f"holds at most {_FILE_LIMIT_BYTES / 1e9:.2f} GB; choose a smaller model"
        )
    _check_path(path)
    frozen = _frozen(net)
    images = torch.zeros(2 if batch == "dynamic" else 1, 3, size, size)
    _check_answer(frozen, images, classes=classes, name=name)
    facts: dict[str, object] = {
        "classes": list(classes),
        "preprocess": preprocess.as_record(),
        "recipe_sha256": recipe_sha256,
        "versions": _versions(),
    }
    content = _content(
        frozen, images, dynamic=batch == "dynamic", name=name, facts=facts
    )
    with written_whole(path) as draft:
        draft.write_bytes(content)
    artifact = Artifact(
        path=path,
        format="onnx",
        dtype="float32",
        target=None,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        classes=classes,
        preprocess=preprocess,
        recipe_sha256=recipe_sha256,
        versions=_versions(),
    )
    artifact.write_twin()
    return artifact


def _check_path(path: Path) -> None:
    """Refuse a name that nothing would read again."""
    if path.suffix != ".onnx":
        raise RecipeError(f"export: {path}: the name must end in .onnx")
    if path.is_dir():
        raise RecipeError(f"export: {path}: is a folder; choose another name")


def _frozen(net: nn.Module) -> nn.Module:
    """Copy `net` to the CPU, in eval mode, in float32, in torch's default layout."""
    frozen = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    for each in (*frozen.parameters(), *frozen.buffers()):
        each.data = each.data.contiguous()
    return frozen


def _check_answer(
    net: nn.Module, images: Tensor, *, classes: tuple[str, ...], name: str
) -> None:
    """Refuse a network that does not map images to one score a class."""
    wanted = (len(images), len(classes))
    try:
        with torch.inference_mode():
            answer = net(images)
    except Exception as error:  # a network is free to raise anything
        raise InputRejectedError(
            f"export: {name} does not take images of shape {list(images.shape)}: "
            f"{one_line(error)}; choose another --size"
        ) from error
    if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
        found = (
            f"a tensor of shape {list(answer.shape)}"
            if isinstance(answer, Tensor)
            else f"a {type(answer).__name__}"
        )
        raise InputRejectedError(
            f"export: {name} answers {list(images.shape)} with {found}, expected "
            f"logits {list(wanted)}, one a class; only classifiers can be exported"
        )


def _content(
    net: nn.Module,
    images: Tensor,
    *,
    dynamic: bool,
    name: str,
    facts: dict[str, object],
) -> bytes:
    """Give the bytes of the file."""
    try:
        import onnx

        from export.operators import OPSET, TRANSLATIONS
        from export.tidy import tidy_
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"export: needs {error.name}, which is not installed; "
            "run: pip install 'edgepress[export]'"
        ) from error
    axes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    try:
        with _silence():
            graph = torch.export.export(net, (images,), dynamic_shapes=axes)
            program = torch.onnx.export(
                graph,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                custom_translation_table=dict(TRANSLATIONS),
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch.export passes on whatever the network raises
        raise InputRejectedError(refusal(error, name=name)) from error
    if program is None:
        raise InputRejectedError(f"export: torch wrote no graph for {name}")
    tidy_(program.model, name=name, weights=frozenset(net.state_dict()))
    proto = program.model_proto
    del proto.graph.value_info[:]
    proto.producer_name = "edgepress"
    proto.producer_version = _version("edgepress")
    for key, value in sorted(facts.items()):
        # JSON for texts too: a digest of digits only must not come back as a number.
        proto.metadata_props.add(key=key, value=json.dumps(value, sort_keys=True))
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputRejectedError(
            f"export: the graph of {name} breaks the rules of ONNX: {one_line(error)}; "
            "nothing was written"
        ) from error
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's prints, warnings and logs to itself; errors still raise."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _versions() -> dict[str, str]:
    """Look up what makes the file."""
    return {package: _version(package) for package in _VERSIONED}


def _version(package: str) -> str:
    """Look up an installed version; a bare checkout of ours has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
