"""A torch classifier as one self-contained ONNX file, the same bytes every time."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import torch
from torch import nn

from export.classifier import check_answer, frozen
from export.exporters import Order
from export.output_file import check_path, installed, versions_of
from runtime.artifact import Artifact
from runtime.errors import (
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
    one_line,
)
from runtime.files import sha256_of, written_whole
from runtime.preprocess import Preprocess
from runtime.requirements import pip_line
from runtime.selftest import SelfTest
from runtime.target import Target

if TYPE_CHECKING:
    import onnx

# A protobuf message ends at 2 GiB; the graph itself needs a little of that.
_FILE_LIMIT_BYTES: Final = (1 << 31) - (1 << 24)
_VERSIONED: Final = ("edgepress", "torch", "onnx", "onnxscript")


def write(net: nn.Module, order: Order) -> Artifact:
    """Write `net` as `order` says; see `to_onnx`."""
    return to_onnx(
        net,
        size=order.size,
        path=order.path,
        batch=order.batch,
        classes=order.classes,
        preprocess=order.preprocess,
        recipe_sha256=order.recipe_sha256,
        name=order.name,
        dtype=cast("Literal['float32', 'float16', 'int8']", order.dtype),
        target=order.target,
        half=order.half,
        selftest=order.selftest,
    )


def int8_share(path: Path) -> float:
    """The share of a file's MACs in INT8."""
    from export.onnx.lower import int8_macs_fraction

    return int8_macs_fraction(path)


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
    dtype: Literal["float32", "float16", "int8"] = "float32",
    target: Target | None = None,
    half: bool = False,
    selftest: SelfTest | None = None,
) -> Artifact:
    """Write `net`, a classifier of float32 [n, 3, size, size] images, to `path`.

    The file has one input, `image`, and one output, `logits` [n, classes]; n is 1 with
    a static batch. `net` is left as it is; for int8 it is a graph with Q and DQ
    operators, which is lowered for `target`; half: what is float is float16. Labels,
    preprocessing, the recipe's digest, versions and the self-test are kept in the file;
    its sidecar tells of them. A network that does not fit is an InputRejectedError, one
    above 2 GB a RecipeError,
    both before anything is written.
    """
    weights_bytes = sum(
        each.numel() * each.element_size()
        for each in (*net.parameters(), *net.buffers())
    )
    if weights_bytes > _FILE_LIMIT_BYTES:
        raise RecipeError(
            f"export: {name} has {weights_bytes / 1e9:.2f} GB of weights, an ONNX file "
            f"holds at most {_FILE_LIMIT_BYTES / 1e9:.2f} GB; choose a smaller model"
        )
    check_path(path, "onnx")
    still = frozen(net)
    images = torch.zeros(2 if batch == "dynamic" else 1, 3, size, size)
    check_answer(still, images, classes=classes, name=name)
    model = _model(still, images, dynamic=batch == "dynamic", name=name)
    if dtype == "int8":
        from export.onnx.lower import lowered

        model = lowered(model, target)
    if half:
        from export.onnx.half import in_half

        model = in_half(model)
    return write_onnx(
        model,
        path=path,
        classes=classes,
        preprocess=preprocess,
        recipe_sha256=recipe_sha256,
        name=name,
        dtype=dtype,
        target=target,
        selftest=selftest,
    )


def qdq_model(
    net: nn.Module,
    *,
    size: int,
    name: str,
    batch: Literal["static", "dynamic"] = "dynamic",
) -> "onnx.ModelProto":
    """Give the ONNX model of a graph, Q and DQ as they are: not lowered, not written.

    Nodes are called NODE/OPERATOR after the nodes of an fx graph, else after layers.
    """
    images = torch.zeros(2 if batch == "dynamic" else 1, 3, size, size)
    return _model(frozen(net), images, dynamic=batch == "dynamic", name=name)


def write_onnx(  # noqa: PLR0913  # as above
    model: "onnx.ModelProto",
    *,
    path: Path,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    recipe_sha256: str,
    name: str,
    dtype: Literal["float32", "float16", "int8"],
    target: Target | None,
    selftest: SelfTest | None = None,
) -> Artifact:
    """Write a model that is ready for its target, its facts inside and beside it."""
    check_path(path, "onnx")
    facts: dict[str, object] = {
        "classes": list(classes),
        "preprocess": preprocess.as_record(),
        "recipe_sha256": recipe_sha256,
        "versions": versions_of(_VERSIONED),
    }
    layout = None if target is None or target.layout is None else target.layout.name
    if layout is not None:
        facts["target"] = layout
    if selftest is not None:
        facts["selftest"] = selftest.as_record()
    if target is not None and target.layout is not None:
        from export.onnx.arm_rules import refuse_overflow

        if target.layout.activations == "int8":
            refuse_overflow(model, name=name)
    if dtype == "int8" and target is not None and target.rounds_reads:
        from export.onnx.tensorrt_rules import refuse_breaches

        refuse_breaches(model, name=name, target=target.name)
    content = _content(model, name=name, facts=facts)
    with written_whole(path) as draft:
        draft.write_bytes(content)
    artifact = Artifact(
        path=path,
        format="onnx",
        dtype=dtype,
        target=layout,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        classes=classes,
        preprocess=preprocess,
        recipe_sha256=recipe_sha256,
        versions=versions_of(_VERSIONED),
        selftest=selftest,
    )
    artifact.write_sidecar()
    return artifact


def _model(
    net: nn.Module, images: torch.Tensor, *, dynamic: bool, name: str
) -> "onnx.ModelProto":
    """Trace a network; what writes graphs is an extra that may be missing."""
    try:
        from export.onnx.graph import onnx_graph
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"export: needs {error.name}, which is not installed; "
            f"run: {pip_line('export')}"
        ) from error
    return onnx_graph(net, images, dynamic=dynamic, name=name)


def _content(model: "onnx.ModelProto", *, name: str, facts: dict[str, object]) -> bytes:
    """Give the bytes of the file."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    proto.producer_name = "edgepress"
    proto.producer_version = installed("edgepress")
    proto.graph.name = name
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
