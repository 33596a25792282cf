"""A training loop of one's own: networks that learn on INT8 grids, zeros that stay."""

import copy
from dataclasses import dataclass, field

from torch import nn

from compress.data.calibration import calibration_images
from compress.models.batches import batches_of
from compress.python.call import Call
from compress.python.data import Data
from compress.python.network import Network, known, result_of
from compress.python.result import Result
from compress.quantization.finish import with_logits
from compress.quantization.qat import QatNet
from compress.quantization.qat_training import prepared
from compress.recipe.qat import Qat
from compress.training.masked import with_zeros
from compress.training.masks import Masks, apply_, masks_of
from runtime.errors import RecipeError
from runtime.preprocess import Preprocess


def prepare_qat(  # noqa: PLR0913  # what it starts from
    net: Network,
    data: Data,
    *,
    calib_images: int = 256,
    lsq: bool = False,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> QatNet:
    """A network to train as any other, each tensor rounded where INT8 kernels round it.

    It maps float32 [n, 3, size, size] to logits [n, classes], normalized as `net` takes
    them. In training mode the ranges of its tensors follow what it sees: `reach_(1.0)`
    stops that, for the last part of a training. lsq: scales are parameters instead
    (Esser et al. 2020). calib_images: training images that the first ranges come from.
    `convert` makes the INT8 network of it. The other arguments and the errors are those
    of `prune`.
    """
    call = Call("prepare_qat", size, preprocess, seed, "cpu", quiet)
    found = call.data(data)
    model = call.model(net, found)
    if model.precision != "float":
        raise RecipeError("prepare_qat: takes a float network, and this one is INT8")
    with call.context() as context:
        images = calibration_images(
            found, model.preprocess, context, source=None, count=calib_images
        )
        asked = Qat(lsq=lsq, freeze_batchnorm_after=0.0, freeze_observers_after=1.0)
        made = prepared(model, batches_of(model, images), asked)
    made.reach_(0.0)
    return made


def convert(net: QatNet) -> Result:
    """The INT8 network that a trained one of `prepare_qat`, or its copy, stands for.

    It computes as integer kernels do and is ready for `export`; `net` stays as it is.
    """
    if not isinstance(net, QatNet):
        raise RecipeError(
            f"convert: {type(net).__name__} was not made by prepare_qat; quantize "
            "takes any network"
        )
    source, here = net.source, copy.deepcopy(net).cpu()
    made = with_logits(here.quantized(), source.images).eval()
    return result_of(source.model.with_net(made))


@dataclass(frozen=True, kw_only=True)
class HeldMasks:
    """Which weights of `net` are zero and have to stay so."""

    net: nn.Module = field(repr=False)
    masks: Masks = field(repr=False)

    def apply_(self) -> None:
        """Set them to zero again; call it after every `optimizer.step()`."""
        apply_(self.net, self.masks)


def hold_masks(net: Network) -> HeldMasks:
    """The zeros of `sparsify` in `net`, to be held in a training loop of your own.

    Call `apply_()` after each `optimizer.step()`, or let the optimizer do it:
    `optimizer.register_step_post_hook(lambda *_: held.apply_())`. Of a network that no
    Result gave, such as one of `prepare_qat`, every exact zero of a weight is held.
    Raises RecipeError where there is none.
    """
    module = net.net if isinstance(net, Result) else net
    model = net.model if isinstance(net, Result) else known(module)
    names = () if model is None else tuple(model.surgery.masked)
    names = names or with_zeros(module)
    if not names:
        raise RecipeError(
            f"hold_masks: no weight of {type(module).__name__} is zero; sparsify it "
            "first"
        )
    return HeldMasks(net=module, masks=masks_of(module, names))
