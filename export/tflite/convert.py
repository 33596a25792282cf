"""litert-torch, called for one graph, quietly."""

from types import SimpleNamespace
from typing import Final, Literal

import torch
from torch import Tensor, nn

from export.tflite.reshapes import reshaping
from export.trace_errors import refusal
from runtime.errors import InputRejectedError, MissingDependencyError
from runtime.quiet import silence
from runtime.requirements import pip_line

# Operators of TFLite that call another graph of the file.
_CALLING: Final = ("STABLEHLO_", "WHILE", "IF", "CALL")


def check_installed() -> None:
    """Refuse to begin without the converter; it is looked up, and loaded, here."""
    try:
        with silence(1, 2):
            import ai_edge_litert  # noqa: F401
            import flatbuffers  # noqa: F401
            import litert_torch  # noqa: F401
            import torchao  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"export: needs {error.name}, which is not installed or does not load; "
            f"run: {pip_line('tflite-export')} (litert-converter has wheels "
            "for x86-64 Linux only)"
        ) from error


def converted(
    net: nn.Module,
    image: Tensor,
    *,
    layout: Literal["NHWC", "NCHW"],
    integers: bool,
    name: str,
) -> bytes:
    """Give the bytes of a TFLite file for one image of shape [1, 3, size, size].

    integers: the graph has quantize and dequantize operators; inputs and outputs on a
    grid are then int8. What the converter refuses is an InputRejectedError.
    """
    import litert_torch
    from litert_torch.quantize.quant_config import QuantConfig

    whole, given = net, image
    if layout == "NHWC":
        given = image.permute(0, 2, 3, 1).contiguous()
        whole = _ChannelsLast(reshaping(net, image))
    # All that the converter asks of a quantizer: are ranges found at run time?
    static = SimpleNamespace(global_config=SimpleNamespace(is_dynamic=False))
    config = QuantConfig(pt2e_quantizer=static) if integers else None
    constants: list[Tensor] = []
    _keep_constants_(constants)
    _take_apart_()
    try:
        with silence(1, 2), torch.no_grad():
            model = litert_torch.convert(whole.eval(), (given,), quant_config=config)
            content = bytes(model.model_content())
    except Exception as error:  # the network and the converter raise anything
        raise InputRejectedError(
            refusal(error, name=name, net=net, image=image)
        ) from error
    _check_parts(content, name=name)
    return content


def _check_parts(content: bytes, *, name: str) -> None:
    """Refuse a file of several graphs: what calls the others runs on few devices."""
    from export.tflite import flatbuffer

    model = flatbuffer.read(content)
    if len(model.subgraphs) == 1:
        return
    kinds = {flatbuffer.kind_of(model, each) for each in model.subgraphs[0].operators}
    names = sorted(flatbuffer.NAMES[kind] for kind in kinds)
    calling = [each for each in names if each.startswith(_CALLING)]
    raise InputRejectedError(
        f"export: {name} cannot be exported because of the operator "
        f"{', '.join(calling) or 'that the converter made'}, which TFLite files need a "
        "second graph for; replace what it is made of, such as a scatter, a fold or a "
        "loop, or export to ONNX"
    )


def _keep_constants_(kept: list[Tensor]) -> None:
    """Let every constant that the converter meets live as long as `kept`.

    It knows them by where they lie in memory. Of one that is strided, as weights are
    that were trained channels last, it makes a copy, frees it, and takes the next copy
    that lands there for the same constant: layers of one shape then have the weights of
    the first (litert-torch from 0.9 on, its issue 1061).
    """
    from litert_torch.backend import inline_consts, lowerings

    def lower(context: object, values: Tensor) -> object:
        kept.append(values.detach().cpu().contiguous())
        return inline_consts.tensor_lowering_placeholder_lowering(context, kept[-1])

    lowerings.lower(inline_consts.tensor_lowering_placeholder)(lower)


def _take_apart_() -> None:
    """Tell the converter what x + alpha * y is, which it refuses as one operator.

    And what 1 - x is: of a convolution's result it makes x - 1, whether 1 is a number
    or a constant of fewer numbers than x.
    """
    from litert_torch.fx_infra import decomp

    aten = torch.ops.aten
    decomp.add_pre_convert_decomp(aten.add.Tensor, _sum)
    decomp.add_pre_convert_decomp(aten.sub.Tensor, _difference)
    decomp.add_pre_convert_decomp(aten.rsub.Scalar, _reversed)


def _sum(first: Tensor, second: Tensor, *, alpha: float = 1) -> Tensor:
    """Give first + alpha * second; a plain sum is not for this table to take apart."""
    return NotImplemented if alpha == 1 else first + second * alpha


def _difference(first: Tensor, second: Tensor | float, *, alpha: float = 1) -> Tensor:
    """Give first - alpha * second; as above."""
    # Numbers come here, too, where another operator is taken apart.
    if not isinstance(second, Tensor):
        return NotImplemented if alpha == 1 else first - second * alpha
    if isinstance(first, Tensor) and first.numel() < second.numel():
        return _reversed(second, first, alpha)
    return NotImplemented if alpha == 1 else first - second * alpha


def _reversed(first: Tensor, second: float | Tensor, alpha: float = 1) -> Tensor:
    """Give second - alpha * first."""
    return first * -alpha + second


class _ChannelsLast(nn.Module):
    """Takes [n, h, w, 3]; the converter's layout pass cancels the transpose."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Map an image to what the network gives."""
        scores: Tensor = self.net(image.permute(0, 3, 1, 2))
        return scores
