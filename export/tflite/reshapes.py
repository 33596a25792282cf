"""Views and expands of feature maps, written so that they take channels-last memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from export.onnx.broadcasts import broadcasts_are_implied_
from runtime.quiet import silence

ATEN: Final = torch.ops.aten
_EXPANDING: Final = (Tensor.expand, Tensor.expand_as, torch.broadcast_to)


def reshaping(net: nn.Module, image: Tensor) -> nn.Module:
    """`net`, or where the order of axes would matter, its graph with other spellings.

    A view of a feature map, as in `x.view(x.size(0), -1)`, asks how the tensor lies in
    memory, and in a TFLite file its channels come last. A reshape gives the same
    numbers in the same order. An expand keeps its axes where the converter moves those
    of its neighbor, and a product broadcasts without it. A network that cannot be
    traced is given back as it is.

    image: float32 [1, 3, size, size].
    """
    if isinstance(net, fx.GraphModule) or _minds_no_axes(net, image):
        return net
    try:
        with silence():
            program = torch.export.export(net, (image,))
            graph = program.run_decompositions({}).module(check_guards=False)
    except Exception:  # noqa: BLE001  # whoever converts it will say why
        return net
    for node in graph.graph.nodes:
        if node.target is ATEN.view.default:
            node.target = ATEN.reshape.default
    # The module that torch.export gives refuses to be switched to evaluation.
    plain = fx.GraphModule(graph, graph.graph)
    broadcasts_are_implied_(plain)
    plain.graph.eliminate_dead_code()
    plain.recompile()
    return plain


def _minds_no_axes(net: nn.Module, image: Tensor) -> bool:
    """Whether `net` works in any memory format, and expands nothing."""
    try:
        with torch.no_grad(), _Expands() as seen:
            net(image.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return not seen.any


class _Expands(TorchFunctionMode):
    """Notes whether anything is expanded while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],  # torch's signature
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Let the call pass."""
        self.any |= func in _EXPANDING
        return func(*args, **(kwargs or {}))
