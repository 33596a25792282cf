"""A torch classifier as one ExecuTorch program (.pte), computed by XNNPACK."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, cast

import torch
from torch import Tensor, fx, nn

from export.classifier import check_answer, frozen
from export.exporters import Order
from export.output_file import check_path, versions_of
from runtime.artifact import Artifact
from runtime.errors import (
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
    one_line,
)
from runtime.files import sha256_of, written_whole
from runtime.preprocess import Preprocess
from runtime.quiet import quiet
from runtime.requirements import pip_line
from runtime.selftest import SelfTest

_VERSIONED: Final = ("edgepress", "torch", "executorch")


def write(net: nn.Module, order: Order) -> Artifact:
    """Write `net` as `order` says; see `to_executorch`."""
    return to_executorch(
        net,
        size=order.size,
        path=order.path,
        dtype=cast("Literal['float32', 'int8']", order.dtype),
        logits=order.logits,
        classes=order.classes,
        preprocess=order.preprocess,
        recipe_sha256=order.recipe_sha256,
        name=order.name,
        selftest=order.selftest,
    )


def int8_share(path: Path) -> None:
    """Nobody knows: what XNNPACK took of a program is its own."""
    del path


def to_executorch(  # noqa: PLR0913  # what a file must say about itself
    net: nn.Module,
    *,
    size: int,
    path: Path,
    dtype: Literal["float32", "int8"] = "float32",
    logits: tuple[float, int] | None = None,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    recipe_sha256: str,
    name: str,
    selftest: SelfTest | None = None,
) -> Artifact:
    """Write `net`, a classifier of float32 [1, 3, size, size] images, to `path`.

    For "int8", `net` is a graph with quantize and dequantize operators, the same that
    becomes ONNX and TFLite; XNNPACK computes a linear layer in integers only if its
    answer is rounded, so the logits lie on the grid (scale, zero point) of `logits`.
    The file takes and gives float32. A program has no room for facts: they stand in its
    sidecar, the self-test among them. A network that does not fit is an
    InputRejectedError, missing ExecuTorch a MissingDependencyError.
    """
    check_path(path, "executorch")
    image = torch.zeros(1, 3, size, size)
    ready = copy.deepcopy(net) if dtype == "int8" else frozen(net)
    check_answer(ready, image, classes=classes, name=name)
    if dtype == "int8":
        _integers_(ready, logits, name=name)
    content = _program(ready, image, name=name)
    with written_whole(path) as draft:
        draft.write_bytes(content)
    artifact = Artifact(
        path=path,
        format="executorch",
        dtype=dtype,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        classes=classes,
        preprocess=replace(preprocess, layout="NCHW"),
        recipe_sha256=recipe_sha256,
        versions=versions_of(_VERSIONED),
        selftest=selftest,
        selftest_inside=False,
    )
    artifact.write_sidecar()
    return artifact


def _integers_(net: nn.Module, logits: tuple[float, int] | None, *, name: str) -> None:
    """Spell a Q/DQ graph as XNNPACK's partitioner recognizes it, in place.

    Biases are real numbers, which it rounds to the grid that they lie on, and every
    operator reads a dequantize of its own.
    """
    from export.tflite import integers, qdq

    if not isinstance(net, fx.GraphModule) or not integers.has_integers(net):
        raise InputRejectedError(
            f"export: {name} is a float network, which has no int8 file; quantize it "
            "first, or choose another dtype"
        )
    if logits is None:
        raise RecipeError(
            f"export: {name} has no grid for its logits, which XNNPACK rounds; "
            "quantize it again with this edgepress"
        )
    integers.round_answer_(net, qdq.Grid(*logits))
    for node in list(net.graph.nodes):
        if node.target is qdq.dequantize_channels():
            _float_bias_(net, node)
        elif node.target is qdq.dequantize():
            _one_each_(net, node)
    net.graph.eliminate_dead_code()
    net.recompile()


def _float_bias_(net: fx.GraphModule, node: fx.Node) -> None:
    """Let a dequantized bias be the real numbers that it stands for."""
    from export.tflite import qdq

    steps, scales = (qdq.value_of(net, each) for each in node.args[:2])
    if steps.dtype != torch.int32:
        return
    exact = (steps.double() * scales.double()).float()
    with net.graph.inserting_before(node):
        stored = node.args[0]
        real = qdq.constant(net, f"{getattr(stored, 'target', node.name)}_real", exact)
    node.replace_all_uses_with(real)


def _one_each_(net: fx.GraphModule, node: fx.Node) -> None:
    """Give every reader of a dequantize but the first its own copy of it."""
    for reader in list(node.users)[1:]:
        with net.graph.inserting_before(reader):
            own = net.graph.node_copy(node)
        reader.replace_input_with(node, own)


def _program(net: nn.Module, image: Tensor, *, name: str) -> bytes:
    """Lower a network; what XNNPACK does not take, portable kernels compute."""
    with quiet(1, 2), _installed():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
            XnnpackPartitioner,
        )
        from executorch.exir import to_edge_transform_and_lower

        try:
            exported = torch.export.export(net, (image,))
            lowered = to_edge_transform_and_lower(
                exported, partitioner=[XnnpackPartitioner()]
            )
            return bytes(lowered.to_executorch().buffer)
        except Exception as error:  # ExecuTorch raises what it likes
            raise InputRejectedError(
                f"export: ExecuTorch does not lower {name}: {one_line(error)}; choose "
                "another format"
            ) from error


@contextmanager
def _installed() -> Iterator[None]:
    """Say what is missing, if something is."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"export: needs {error.name}, which is not installed; "
            f"run: {pip_line('executorch')}"
        ) from error
