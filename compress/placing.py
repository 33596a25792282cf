"""Which parts of a quantised network stay float in a file, because that is faster."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from compress.exports import Wanted
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.job import Job


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Nodes that stay float, and the timings that say why."""

    left_float: frozenset[str] = field(default_factory=frozenset)
    record: Mapping[str, object] | None = None


def placed(asked: Wanted, job: Job) -> Placed:
    """Time parts of the network in float and in INT8 on this machine; keep the faster.

    Less of a network in INT8 is closer to the float one, so that no candidate has to
    be judged again for its accuracy; parity is proven on what was chosen.
    """
    from export.placement import placed as search
    from export.to_onnx import qdq_model

    net = asked.model.net
    if not isinstance(net, QuantizedNet) or asked.target is None:
        return Placed()
    size, name = asked.model.preprocess.size, asked.model.spec.name
    job.screen.tell(f"place: {asked.name}, timing parts of it in float and in INT8")
    found = search(
        qdq_model(with_qdq(net.graph, net.scheme), size=size, name=name),
        qdq_model(net.graph, size=size, name=name),
        target=asked.target,
        rng=np.random.default_rng(job.seed),
    )
    job.screen.tell(f"place: {found.as_text()}")
    record = {**found.as_record(), "left_float": sorted(found.left_float)}
    return Placed(left_float=found.left_float, record=record)
