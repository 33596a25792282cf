"""The stages, carried out: options paired with the function that does the work.

The recipe knows a stage by its options (`compress.recipe.stages`), which load without
torch; a function is found by name when it is needed, since some bring libraries that
not every installation has.
"""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Final, NamedTuple, cast

from compress.context.context import RunContext
from compress.data.dataset import Dataset
from compress.models.model import Model
from compress.models.spec import CALLED
from compress.models.stage_result import StageResult
from compress.recipe.distill import Distill
from compress.recipe.factorize import Factorize
from compress.recipe.finetune import FineTune
from compress.recipe.prune import Prune
from compress.recipe.ptq import Ptq
from compress.recipe.qat import Qat
from compress.recipe.sparsify import Sparsify
from compress.recipe.stage import Stage
from runtime.errors import RecipeError


class Work(NamedTuple):
    """Functions `(model, data, context, options)`, each as MODULE:NAME.

    run: gives a StageResult; references: the models that the stage learns from, by
    role, without doing its work; baselines: other options for the same model, by title,
    to be compared with.
    """

    run: str
    references: str | None = None
    baselines: str | None = None


WORK: Final[Mapping[type[Stage], Work]] = {
    FineTune: Work("compress.training.finetuning:finetune"),
    Distill: Work(
        "compress.training.distillation:distill",
        references="compress.training.distillation:references",
        baselines="compress.recipe.distill:baselines",
    ),
    Prune: Work("compress.pruning.iterative:prune"),
    Sparsify: Work("compress.sparsity.sparsification:sparsify"),
    Factorize: Work("compress.lowrank.factorization:factorize"),
    Ptq: Work("compress.quantization.post_training:post_training"),
    Qat: Work("compress.quantization.qat_training:quantization_aware_training"),
}


def carry_out(
    options: Stage, model: Model, data: Dataset, context: RunContext, **given: object
) -> StageResult:
    """Do the work of a stage; `model` and `data` are left as they are.

    given: what no recipe can hold, such as a loss of a program's own; the function of
    the stage says what there is. Raises RecipeError where the stage takes networks of
    another precision.
    """
    if model.precision != options.takes:
        raise RecipeError(
            f"{context.title}: takes {CALLED[options.takes]}, and {model.spec.name} is "
            f"{CALLED[model.precision]}; name the model that it was made from"
        )
    run = resolve_name(WORK[type(options)].run)
    return cast("StageResult", run(model, data, context, options, **given))


def references_of(
    options: Stage, model: Model, data: Dataset, context: RunContext
) -> Mapping[str, Model]:
    """The models that a stage learns from; the work itself is not done."""
    name = WORK[type(options)].references
    if name is None:
        return {}
    return cast(
        "Mapping[str, Model]", resolve_name(name)(model, data, context, options)
    )


def baselines_of(options: Stage) -> Mapping[str, Stage]:
    """Other ways to spend the same effort on the same model, to compare with."""
    name = WORK[type(options)].baselines
    return (
        {} if name is None else cast("Mapping[str, Stage]", resolve_name(name)(options))
    )
