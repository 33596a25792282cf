"""A torch classifier as one TFLite file, the same bytes every time."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor, fx, nn

from export.classifier import check_answer, frozen
from export.exporters import Order
from export.output_file import check_path, versions_of
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import sha256_of, written_whole
from runtime.preprocess import Preprocess
from runtime.selftest import SelfTest

if TYPE_CHECKING:
    from export.tflite.integers import Kept

Dtype = Literal["float32", "float16", "dynamic", "int8"]
Edge = Literal["float32", "int8"]
Layout = Literal["NHWC", "NCHW"]

INPUT: Final = "image"
OUTPUT: Final = "logits"
_VERSIONED: Final = ("edgepress", "torch", "litert-torch", "litert-converter")


def write(net: nn.Module, order: Order) -> Artifact:
    """Write `net` as `order` says; see `to_tflite`."""
    return to_tflite(
        net,
        size=order.size,
        path=order.path,
        dtype=order.dtype,
        io=order.io,
        logits=order.logits,
        classes=order.classes,
        preprocess=order.preprocess,
        recipe_sha256=order.recipe_sha256,
        name=order.name,
        selftest=order.selftest,
    )


def int8_share(path: Path) -> float:
    """The share of a file's MACs in INT8."""
    from export.tflite.reading import int8_macs_fraction

    return int8_macs_fraction(path)


def to_tflite(  # noqa: PLR0913  # what a file must say about itself
    net: nn.Module,
    *,
    size: int,
    path: Path,
    dtype: Dtype = "float32",
    io: Edge = "float32",
    layout: Layout = "NHWC",
    logits: tuple[float, int] | None = None,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    recipe_sha256: str,
    name: str,
    target: str | None = None,
    selftest: SelfTest | None = None,
) -> Artifact:
    """Write `net`, a classifier of float32 [1, 3, size, size] images, to `path`.

    "float16" and "dynamic" store weights in 16 and 8 bits and compute in float32. For
    "int8", `net` is a graph with quantize and dequantize operators, whose integers
    become the file's. The file has one input, `image`, in `layout`, and one output,
    `logits` [1, classes], both float32; with io="int8" both are int8, the logits on the
    grid (scale, zero point) that `logits` gives. `net` is left as it is. Labels,
    preprocessing, the recipe's digest, versions and the self-test are kept in the file,
    and its sidecar tells of them.
    """
    _check(path, dtype=dtype, io=io, logits=logits)
    from export.tflite import convert

    convert.check_installed()
    facts = Artifact(
        path=path,
        format="tflite",
        dtype=dtype,
        target=target,
        sha256="",
        size_bytes=0,
        classes=classes,
        preprocess=replace(preprocess, layout=layout),
        recipe_sha256=recipe_sha256,
        versions=versions_of(_VERSIONED),
        selftest=selftest,
    )
    image = torch.zeros(1, 3, size, size)
    content = _content(
        net, image, facts, io=io, layout=layout, logits=logits, name=name
    )
    with written_whole(path) as draft:
        draft.write_bytes(content)
    artifact = replace(facts, sha256=sha256_of(path), size_bytes=path.stat().st_size)
    artifact.write_sidecar()
    return artifact


def _check(
    path: Path, *, dtype: Dtype, io: Edge, logits: tuple[float, int] | None
) -> None:
    """Refuse, before anything is loaded, what cannot end well."""
    check_path(path, "tflite")
    if io == "int8" and dtype != "int8":
        raise RecipeError(
            f"export: {path.name}: int8 input and output need int8 within, not {dtype}"
        )
    if io == "int8" and logits is None:
        raise RecipeError(
            f"export: {path.name}: int8 output needs the grid of the logits"
        )


def _content(  # noqa: PLR0913  # as above
    net: nn.Module,
    image: Tensor,
    facts: Artifact,
    *,
    io: Edge,
    layout: Layout,
    logits: tuple[float, int] | None,
    name: str,
) -> bytes:
    """Give the bytes of the file."""
    from export.tflite import convert, flatbuffer, weights
    from export.tflite.io_types import float_edges_, name_tensors_
    from export.tflite.metadata import described
    from export.tflite.no_ops import cancel_transposes_, unmark_

    ready = frozen(net) if facts.dtype != "int8" else copy.deepcopy(net)
    check_answer(ready, image, classes=facts.classes, name=name)
    kept = []
    if facts.dtype == "int8":
        kept = _ready_(ready, image, logits=logits if io == "int8" else None, name=name)
    model = flatbuffer.read(
        convert.converted(
            ready,
            image,
            layout=layout,
            integers=facts.dtype == "int8",
            name=name,
        )
    )
    unmark_(model)
    cancel_transposes_(model)
    name_tensors_(model, source=INPUT, result=OUTPUT)
    if facts.dtype == "float16":
        weights.halve_weights_(model)
    elif facts.dtype == "dynamic":
        weights.pack_weights_(model)
    elif facts.dtype == "int8":
        weights.pack_weights_(model, kept)
    if io == "float32":
        float_edges_(model)
    return described(model, facts, name=name, source=INPUT, result=OUTPUT)


def _ready_(
    net: nn.Module, image: Tensor, *, logits: tuple[float, int] | None, name: str
) -> "list[Kept]":
    """Spell a Q/DQ graph as the converter and LiteRT need it, in place."""
    from export.tflite import integers, qdq
    from export.tflite import legalize as spelling

    if not isinstance(net, fx.GraphModule) or not integers.has_integers(net):
        raise InputRejectedError(
            f"export: {name} is a float network, which has no int8 file; quantize it "
            "first, or choose another dtype"
        )
    if logits is not None:
        integers.round_answer_(net, qdq.Grid(*logits))
    kept = integers.float_constants_(net)
    spelling.spell_(net, image)
    integers.check_edges(net)
    return kept
