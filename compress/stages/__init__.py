"""The stages a recipe may name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from compress.stages.distill import Distill
from compress.stages.factorize import Factorize
from compress.stages.finetune import FineTune
from compress.stages.prune import Prune
from compress.stages.ptq import Ptq
from compress.stages.qat import Qat
from compress.stages.sparsify import Sparsify
from compress.stages.stage import Stage
from compress.training.options import Training

STAGES: Final[Mapping[str, type[Stage]]] = {
    "finetune": FineTune,
    "distill": Distill,
    "prune": Prune,
    "sparsify": Sparsify,
    "factorize": Factorize,
    "ptq": Ptq,
    "qat": Qat,
}
# Those that give back an INT8 network.
QUANTISING: Final = frozenset(
    name for name, kind in STAGES.items() if kind.gives == "int8"
)


def keeps_answers(name: str, stage: Stage) -> bool:
    """Whether a stage leaves the meaning of a network's outputs as it is.

    One that trains may give it the classes of other data first.
    """
    trains = isinstance(stage, Training) and stage.epochs > 0
    return name in QUANTISING or not trains
