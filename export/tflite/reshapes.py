"""Views of feature maps as reshapes, which take channels-last memory as well."""

from typing import Final

import torch
from torch import Tensor, fx, nn

from runtime.quiet import silence

ATEN: Final = torch.ops.aten


def reshaping(net: nn.Module, image: Tensor) -> nn.Module:
    """`net`, or where it insists on contiguous memory, its graph with reshapes.

    A view of a feature map, as in `x.view(x.size(0), -1)`, asks how the tensor lies in
    memory, and in a TFLite file its channels come last. A reshape gives the same
    numbers in the same order. A network that cannot be traced is given back as it is.

    image: float32 [1, 3, size, size].
    """
    if isinstance(net, fx.GraphModule) or _takes_channels_last(net, image):
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
    # The one that torch.export gives refuses to be switched to evaluation.
    return fx.GraphModule(graph, graph.graph)


def _takes_channels_last(net: nn.Module, image: Tensor) -> bool:
    """Whether `net` works whatever the memory format of its input."""
    try:
        with torch.no_grad():
            net(image.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True
