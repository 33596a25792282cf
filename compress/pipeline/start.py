"""Whether a run can start: the model that it is given, and the stage that takes it."""

from collections.abc import Sequence

from compress.models.checkpoint import is_model, saved_precision
from compress.models.opening import saved_model
from compress.models.spec import CALLED, ModelSpec
from compress.recipe.stage import Stage
from runtime.errors import RecipeError


def check_start(spec: ModelSpec, steps: Sequence[tuple[str, Stage]]) -> None:
    """Refuse a model that the first stage cannot take, before it is read.

    Of an INT8 run no stage makes anything: the float model is what can still learn.
    """
    folder = saved_model(spec.name) if steps else None
    if folder is None:
        return
    name, stage = steps[0]
    if saved_precision(folder) == stage.takes:
        return
    beside = [each for each in sorted(folder.parent.iterdir()) if is_model(each)]
    fit = [str(each) for each in beside if saved_precision(each) == stage.takes]
    which = f": {' or '.join(fit)}" if fit else ""
    raise RecipeError(
        f"model: {spec.name} is quantized already, to INT8, and {name} takes "
        f"{CALLED[stage.takes]}; name the model that it was made from{which} "
        "(`compress quantize --mode qat` trains that in INT8)"
    )
