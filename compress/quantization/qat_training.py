"""The stage `qat` at work: calibrate, train on the grids, hand over to the kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from compress.context.context import is_main_process
from compress.data.calibration import batches_of, calibration_images
from compress.int8.simulate import QuantizedNet
from compress.models.names import family
from compress.quantization.post_training import evaluator_for, with_logits, write_down
from compress.quantization.qat import QatNet
from compress.training.distillation import taught
from compress.training.fit import fit
from compress.training.views import training_images
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from compress.context.context import RunContext
    from compress.data.data import Data
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.quantization.calibrate import Batches
    from compress.recipe.qat import Qat
    from compress.training.fit import Loss

# Of the rate for tuning: a rounded weight hears of small steps only when they add up.
RATE_SHARE: Final = 0.1
# Options of training that a traced graph, its norms folded, has no place for.
_FLOAT_ONLY: Final = {
    "freeze": (),
    "freeze_batchnorm": False,
    "gradient_checkpointing": False,
    "init": None,
    "layer_decay": None,
    "progressive": None,
}


def quantization_aware_training(
    model: Model, data: Catalog, context: RunContext, options: Qat
) -> Model:
    """`model` in INT8, trained as `options` say; findings go to `context.folder`."""
    check(model, options)
    if options.distill < 1 and not data.judges(len(model.classes)):
        raise RecipeError(
            f"qat: {model.spec.name} tells {len(model.classes)} classes apart and "
            f"{data.name} has {len(data.classes)}, so labels cannot teach it; leave "
            "--distill at 1, its float self, or name data of its own classes"
        )
    images = calibration_images(
        model, data, context, source=None, count=options.calib_images
    )
    batches = batches_of(model, images)
    net = prepared(model, batches, options)
    made = learnt(model, net, data.open(model.preprocess), context, options)
    int8 = with_logits(made.quantized(), batches)
    if is_main_process():
        graph, _ = net.origin
        write_down(graph, int8, evaluator_for(graph, model, data), batches, [], context)
    return replace(model, net=int8.eval(), trained=True)


def prepared(model: Model, images: Batches, options: Qat) -> QatNet:
    """`model` on the grids that `images` suggest, nothing learnt yet."""
    return QatNet(
        model,
        images,
        learn_scales=options.lsq,
        gather_until=options.freeze_batchnorm_after,
        watch_until=options.freeze_observers_after,
    )


def learnt(
    model: Model, net: QatNet, data: Data, context: RunContext, options: Qat
) -> QatNet:
    """A copy of `net`, which stands for `model` on its grids, trained."""
    suited = options.training(
        family(model.spec.name), trained=True, images=len(training_images(data))
    )
    if options.learning_rate is None and suited.learning_rate is not None:
        rate = suited.learning_rate * RATE_SHARE
        options = options.model_copy(update={"learning_rate": rate})
    loss = loss_of(model, data, context, options)
    made = fit(model.with_net(net), data, loss, options, context).net
    if not isinstance(made, QatNet):  # pragma: no cover  # it was given one
        raise TypeError(type(made).__name__)
    return made


def check(model: Model, options: Qat) -> None:
    """Refuse what cannot be trained on grids."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"qat: {model.spec.name} is quantized already; give the float model that "
            "it was made from"
        )
    for name, without in _FLOAT_ONLY.items():
        if getattr(options, name) != without:
            raise RecipeError(
                f"qat: {name} is for training in float; leave it out, or name it in a "
                "finetune stage before"
            )


def loss_of(model: Model, data: Data, context: RunContext, options: Qat) -> Loss:
    """What a trained network is judged by: its float self, and the labels."""
    # Few epochs, each of new views: no answer would be needed a second time.
    return taught(
        model,
        data,
        context,
        options,
        share=options.distill,
        temperature=options.temperature,
    )
