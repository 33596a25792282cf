"""The stages a recipe may name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from compress.recipe.distill import Distill
from compress.recipe.factorize import Factorize
from compress.recipe.finetune import FineTune
from compress.recipe.prune import Prune
from compress.recipe.ptq import Ptq
from compress.recipe.qat import Qat
from compress.recipe.sparsify import Sparsify
from compress.recipe.stage import Stage
from compress.recipe.training import Training

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
QUANTIZING: Final = frozenset(
    name for name, kind in STAGES.items() if kind.gives == "int8"
)


def keeps_answers(name: str, stage: Stage) -> bool:
    """Whether a stage leaves the meaning of a network's outputs as it is.

    One that trains may give it the classes of other data first.
    """
    trains = isinstance(stage, Training) and stage.epochs > 0
    return name in QUANTIZING or not trains
