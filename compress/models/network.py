"""The network seam: float or INT8, and what may be asked of either.

An INT8 network is a simulation of integer kernels (`compress.int8.simulate`); whatever
differs between the two is asked here, so that nobody else looks at classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compress.int8.at_rest import record_of, tensors_of
from compress.int8.simulate import QuantizedNet
from compress.models.spec import Precision


def int8_of(net: nn.Module) -> QuantizedNet | None:
    """`net` as the INT8 network that it is; None for a float network."""
    return net if isinstance(net, QuantizedNet) else None


def precision_of(net: nn.Module) -> Precision:
    """The precision of a network's numbers."""
    return "float" if int8_of(net) is None else "int8"


def reference_of(
    net: nn.Module,
    *,
    dtype: str = "int8",
    left_float: frozenset[str] = frozenset(),
) -> nn.Module:
    """The network that a file of `net` in `dtype` has to answer like.

    left_float: operators that the file computes in float though they have grids.
    """
    int8 = int8_of(net)
    if int8 is None:
        return net
    if dtype != "int8":
        return int8.graph
    if not left_float:
        return int8
    return QuantizedNet(int8.graph, int8.scheme.without(left_float))


def float_of(net: nn.Module) -> nn.Module:
    """The float network that an INT8 one rounds, or `net` itself."""
    return reference_of(net, dtype="float32")


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """Everything that was learnt or decided about `net`, by name."""
    int8 = int8_of(net)
    return detached(net) if int8 is None else tensors_of(int8)


def int8_record_of(net: nn.Module) -> Mapping[str, object] | None:
    """What an INT8 network needs beside its tensors; None for a float one."""
    int8 = int8_of(net)
    return None if int8 is None else record_of(int8)


def detached(net: nn.Module) -> dict[str, Tensor]:
    """The state of `net` on the CPU, each tensor contiguous and its own memory."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in net.state_dict().items()
    }


def size_bytes_of(net: nn.Module) -> int:
    """Bytes of the network's state as a file would hold it."""
    int8 = int8_of(net)
    if int8 is not None:
        return int8.size_bytes()
    state = [*net.parameters(), *net.buffers()]
    return sum(tensor.numel() for tensor in state) * torch.float32.itemsize
