"""Operators that the exporter writes clumsily, written as inference engines want them.

`TRANSLATIONS` is handed to torch.onnx.export: an operator of that table is translated
here instead of being taken apart first.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from onnxscript import opset18

from runtime.errors import InputRejectedError

# The opset that torch's translations are written in (no conversion step, so no loss);
# read by ONNX Runtime since 1.14 and by TensorRT since 8.6 (JetPack 6 has 8.6 or 10).
OPSET: Final = 18


def averaging(side: int, bins: int) -> npt.NDArray[np.float32]:
    """Give the matrix [bins, side] that averages `side` positions into `bins` of them.

    Bin i covers floor(i * side / bins) up to ceil((i + 1) * side / bins), as torch
    does it in aten/src/ATen/native/AdaptivePooling.h; bins overlap where `side` is
    no multiple of `bins`, and repeat positions where it is smaller.
    """
    matrix = np.zeros((bins, side), np.float32)
    for i in range(bins):
        first, last = i * side // bins, -(-(i + 1) * side // bins)
        matrix[i, first:last] = 1 / (last - first)
    return matrix


def _apply(
    operator: str, *inputs: ir.Value, attributes: Mapping[str, object] | None = None
) -> ir.Value:
    """Add a node; opset18 is typed for numbers, while a graph is traced here."""
    make = cast("Callable[..., ir.Value]", getattr(opset18, operator))
    return make(*inputs, **(attributes or {}))


def _constant(values: npt.NDArray[np.float32]) -> ir.Value:
    """Put numbers into the graph."""
    numbers = ir.tensor(np.ascontiguousarray(values))
    return _apply("Constant", attributes={"value": numbers})


def _sizes(value: ir.Value) -> tuple[int | None, ...]:
    """Give the axes of a value; None is one that depends on the batch."""
    shape = () if value.shape is None else tuple(value.shape)
    return tuple(size if isinstance(size, int) else None for size in shape)


def adaptive_average(images: ir.Value, output_size: Sequence[int]) -> ir.Value:
    """Translate `adaptive_avg_pool2d` of images [n, c, h, w]; h and w must be known.

    torch.export takes it apart into strided views, index arithmetic and gathers. It is
    linear and separable: a global mean, a mean over tiles, or a matrix for each side.
    """
    high, wide = _sizes(images)[-2:]
    if high is None or wide is None:
        raise InputRejectedError(
            "adaptive_avg_pool2d: height and width of its input depend on the batch; "
            "only networks with a fixed image size can be exported"
        )
    rows, columns = output_size
    if (rows, columns) == (high, wide):
        return _apply("Identity", images)
    if (rows, columns) == (1, 1):
        return _apply("GlobalAveragePool", images)
    if high % rows == 0 and wide % columns == 0:
        tile = [high // rows, wide // columns]
        return _apply(
            "AveragePool", images, attributes={"kernel_shape": tile, "strides": tile}
        )
    across = _apply("MatMul", images, _constant(averaging(wide, columns).T))
    return _apply("MatMul", _constant(averaging(high, rows)), across)


def mean(
    values: ir.Value,
    dim: Sequence[int] | None,
    keepdim: bool = False,  # the operator's own signature
    dtype: int | None = None,
) -> ir.Value:
    """Translate `mean.dim`; over a map [n, c, h, w] it is a global pool.

    Runtimes have kernels for that, also in INT8, and none for ReduceMean.
    """
    sizes = _sizes(values)
    axes = sorted(axis % len(sizes) for axis in dim or range(len(sizes)))
    if dtype is not None and dtype != values.dtype:
        raise InputRejectedError("mean: a mean in another type cannot be exported")
    if axes == [2, 3] and len(sizes) == 4:  # noqa: PLR2004  # images
        pooled = _apply("GlobalAveragePool", values)
        if keepdim:
            return pooled
        return _apply("Flatten", pooled, attributes={"axis": 1})
    along = _apply("Constant", attributes={"value_ints": axes})
    kept = {"keepdims": int(keepdim)}
    return _apply("ReduceMean", values, along, attributes=kept)


def attention(  # noqa: PLR0913, PLR0917  # the operator's own signature
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    attn_mask: ir.Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> ir.Value:
    """Translate `scaled_dot_product_attention` of [n, heads, tokens, width] each.

    The exporter computes the shape of the transposed keys at run time; with four known
    axes a Transpose says the same.
    """
    sizes = _sizes(query)
    width = sizes[-1]
    plain = not (is_causal or enable_gqa or dropout_p)
    if not plain or width is None or len(sizes) != 4:  # noqa: PLR2004  # see above
        raise InputRejectedError(
            "scaled_dot_product_attention: only plain attention over [n, heads, "
            "tokens, width] is exported, no causal mask, grouped queries or dropout"
        )
    factor = np.asarray(1 / math.sqrt(width) if scale is None else scale, np.float32)
    keys = _apply("Transpose", key, attributes={"perm": [0, 1, 3, 2]})
    scores = _apply("MatMul", _apply("Mul", query, _constant(factor)), keys)
    if attn_mask is not None:
        scores = _apply("Add", scores, attn_mask)
    weights = _apply("Softmax", scores, attributes={"axis": -1})
    return _apply("MatMul", weights, value)


TRANSLATIONS: Final[Mapping[Callable[..., object], Callable[..., object]]] = {
    torch.ops.aten.adaptive_avg_pool2d.default: adaptive_average,
    torch.ops.aten.mean.dim: mean,
    torch.ops.aten.scaled_dot_product_attention.default: attention,
}
