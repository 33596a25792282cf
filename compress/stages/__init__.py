"""The stages a recipe may name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from compress.stages.distill import Distill
from compress.stages.factorize import Factorize
from compress.stages.finetune import FineTune
from compress.stages.ptq import Ptq
from compress.stages.qat import Qat
from compress.stages.sparsify import Sparsify
from compress.stages.stage import Stage

STAGES: Final[Mapping[str, type[Stage]]] = {
    "finetune": FineTune,
    "distill": Distill,
    "sparsify": Sparsify,
    "factorize": Factorize,
    "ptq": Ptq,
    "qat": Qat,
}
# Those that give back an INT8 network.
QUANTISING: Final = frozenset({"ptq", "qat"})
