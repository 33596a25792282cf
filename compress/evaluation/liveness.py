"""How much memory activations need at once, from which tensor is used when.

An exact account for running operators one by one in the order of the forward pass: a
tensor lives from the operator that makes it to the last that reads it. An elementwise
operator (activation, batch-norm, addition) writes over an input that nobody reads
later, as the memory planners of ONNX Runtime and TFLite do. Not counted: parameters,
and scratch space inside an operator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Step:
    """One operator: the buffers it reads, those it is the first to write."""

    reads: frozenset[int]
    makes: tuple[int, ...]
    elementwise: bool


def peak_bytes(net: nn.Module, images: Tensor) -> int:
    """The most bytes alive at once while `images` [n, 3, h, w] pass through `net`."""
    trace = _Trace(owned=[*net.parameters(), *net.buffers()])
    source = trace.key(images)
    with trace:
        answer = net(images)
    results = {trace.key(t) for t in tree_leaves(answer) if isinstance(t, Tensor)}
    return peak(trace.steps, trace.sizes, source=source, results=results)


def peak(
    steps: Sequence[Step], sizes: Mapping[int, int], *, source: int, results: set[int]
) -> int:
    """The highest sum of live buffers; `source` is there from the start."""
    last_read = {key: at for at, step in enumerate(steps) for key in step.reads}
    alive = {source}
    live = highest = sizes[source]
    for at, step in enumerate(steps):
        # What nobody reads later (a pooling's indices) is not made in inference.
        made = [k for k in step.makes if k in results or last_read.get(k, -1) > at]
        dying = [
            k for k in step.reads & alive if last_read[k] == at and k not in results
        ]
        needed = sum(sizes[k] for k in made)
        if step.elementwise and any(sizes[k] == needed for k in dying):
            needed = 0  # written over that input
        highest = max(highest, live + needed)
        alive = (alive | set(made)) - set(dying)
        live = sum(sizes[k] for k in alive)
    return highest


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Notes every operator and the buffers it touches.

    Tensors are held, so that no address is ever used for a second buffer.
    """

    def __init__(self, *, owned: Sequence[Tensor]) -> None:
        """`owned` are parameters and buffers, which are no activations."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.steps: list[Step] = []
        self.sizes: dict[int, int] = {}
        self.held: list[Tensor] = []
        self.owned = {t.untyped_storage()._cdata for t in owned}  # noqa: SLF001  # torch has no public identity of a storage

    def key(self, tensor: Tensor) -> int:
        """Which buffer a tensor lives in."""
        storage = tensor.untyped_storage()
        key: int = storage._cdata  # noqa: SLF001  # as above
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.held.append(tensor)
        return key

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run one operator and note it."""
        del types
        answer = func(*args, **(kwargs or {}))
        before = set(self.sizes)
        reads = {self.key(t) for t in tree_leaves((args, kwargs)) if _is_tensor(t)}
        writes = [self.key(t) for t in tree_leaves(answer) if _is_tensor(t)]
        self.steps.append(
            Step(
                frozenset(reads - self.owned),
                tuple(k for k in dict.fromkeys(writes) if k not in before | self.owned),
                _is_elementwise(func),
            )
        )
        return answer


def _is_tensor(leaf: object) -> bool:
    """Whether a leaf of an operator's arguments is a tensor."""
    return isinstance(leaf, Tensor)


def _is_elementwise(func: object) -> bool:
    """Whether an operator reads each number only to write the one in its place."""
    tags = getattr(func, "tags", ())
    return torch.Tag.pointwise in tags or "batch_norm" in str(func)
