"""model.json as it is read: every part of its type, whoever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch

from compress.context.validation import record_of_file
from compress.models.keras.plan import Plan
from compress.models.spec import ModelSpec
from compress.models.surgery.record import Surgery
from runtime.preprocess import Preprocess
from runtime.typed import Between, record_as


@dataclass(frozen=True, kw_only=True)
class Int8Record:
    """The names that go with the tensors of a quantized network, and its last grid."""

    activations: tuple[str, ...]
    left_float: tuple[str, ...]
    logits: (
        tuple[
            Annotated[float, Between(1e-30, 1e30)], Annotated[int, Between(-128, 127)]
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What `save_model` writes beside the tensors; `spec` is what it builds."""

    spec: Mapping[str, object]
    classes: tuple[str, ...]
    preprocess: Mapping[str, object]
    sha256: str
    factory: str | None
    keras: Mapping[str, object] | None = None
    surgery: Mapping[str, object] | None = None
    int8: Int8Record | None = None

    def specified(self, source: str) -> ModelSpec:
        """The architecture with everything that was done to it."""
        spec = record_of_file(ModelSpec, self.spec, source=f"{source}: spec")
        if self.keras is not None:
            Plan.from_record(self.keras, source=f"{source}: keras")
            spec = spec.with_plan(self.keras)
        if self.surgery is not None:
            where = f"{source}: surgery"
            spec = spec.with_surgery(Surgery.from_record(self.surgery, source=where))
        return spec

    def prepared(self, source: str) -> Preprocess:
        """What the network is fed."""
        return Preprocess.from_record(self.preprocess, source=f"{source}: preprocess")


def model_record(record: object, *, source: str) -> ModelRecord:
    """Read `record`; what is amiss is an InputRejectedError that names it.

    Later versions may add keys, and do not change what these mean.
    """
    return record_as(ModelRecord, record, source=source, others="ignored")


def check_plan(spec: ModelSpec, classes: int, size: int) -> None:
    """Refuse layers of a Keras file whose values no memory holds.

    Shapes are looked at without any memory.
    """
    if spec.plan is None:
        return
    from compress.models.construct import skeleton
    from compress.models.keras.model import check_values

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        net = skeleton(spec, classes=classes, size=size)
    check_values(net, size, path=spec.name)
