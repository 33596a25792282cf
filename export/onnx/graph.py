"""A torch network as an ONNX graph in memory: traced, translated, named."""

from typing import Final

import onnx
import torch
from torch import Tensor, fx, nn

from export.onnx.cleanup import tidy_
from export.onnx.operators import OPSET, TRANSLATIONS
from export.trace_errors import refusal
from runtime.errors import InputRejectedError
from runtime.quiet import silence

INPUT: Final = "image"
OUTPUT: Final = "logits"


def onnx_graph(
    net: nn.Module, images: Tensor, *, dynamic: bool, name: str
) -> onnx.ModelProto:
    """Trace `net`, frozen, on `images`; the first axis is free if `dynamic`.

    Nodes are called after layers, and those of an fx graph after its nodes.
    """
    axes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    is_graph = isinstance(net, fx.GraphModule)
    try:
        with silence():
            program = torch.export.export(net, (images,), dynamic_shapes=axes)
            if isinstance(net, fx.GraphModule):
                _keep_names_(program, net)
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                custom_translation_table=dict(TRANSLATIONS),
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch.export passes on whatever the network raises
        raise InputRejectedError(
            refusal(error, name=name, net=net, image=images)
        ) from error
    if made is None:
        raise InputRejectedError(f"export: torch wrote no graph for {name}")
    weights = frozenset() if is_graph else frozenset(net.state_dict())
    tidy_(made.model, name=name, weights=weights)
    proto: onnx.ModelProto = made.model_proto
    del proto.graph.value_info[:]
    return proto


def _keep_names_(program: torch.export.ExportedProgram, net: fx.GraphModule) -> None:
    """Note on every operator of `program` which node of `net` it came from.

    A graph of operators is traced one by one, in order.
    """
    calls = [node for node in net.graph.nodes if node.op == "call_function"]
    traced = [node for node in program.graph.nodes if node.op == "call_function"]
    if len(calls) != len(traced):
        return
    for node, again in zip(calls, traced, strict=True):
        # torch.onnx writes this stack into its nodes; the last entry is the innermost.
        again.meta["nn_module_stack"] = {node.name: (node.name, "")}
