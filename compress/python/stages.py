"""The stages as functions: the verbs' words and options, over any nn.Module."""

from collections.abc import Callable
from typing import Final, Literal

from torch import Tensor

from compress.models.spec import ModelSpec
from compress.python.call import Call
from compress.python.data import Data
from compress.python.network import Network
from compress.python.options import record_of, takes
from compress.python.result import Result
from compress.quantization.evaluator import Metric
from compress.recipe.distill import Distill
from compress.recipe.factorize import Factorize
from compress.recipe.finetune import FineTune
from compress.recipe.prune import Prune
from compress.recipe.ptq import Ptq
from compress.recipe.qat import Qat
from compress.recipe.sparsify import Sparsify
from compress.training.distillation import DistillationLoss
from runtime.errors import RecipeError
from runtime.preprocess import Preprocess

Loss = Callable[[Tensor, Tensor], Tensor]

# The teacher is a network here, and comparing is the caller's own affair.
_NOT_HERE: Final = frozenset({"teacher", "teacher_epochs", "baseline"})


@takes(Prune)
def prune(  # noqa: PLR0913  # what every stage takes
    net: Network,
    data: Data,
    *,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Cut channels and blocks of `net` within a budget, recover, train.

    net: an nn.Module of float32 [n, 3, size, size] images that gives scores
    [n, classes], or the Result of an earlier call; it is left as it is. data: see
    `dataset`. One budget has to be given, such as ratio=0.33 (a third of the channels)
    or macs=0.5. size, pixels, and preprocess say how the network is fed: by default
    images of the data's own size, values from 0 to 1. device: cpu, cuda …, by default
    where the network is. Raises RecipeError for options that do not go together,
    InputRejectedError for a network that cannot be traced.
    """
    call = Call("prune", size, preprocess, seed, device, quiet)
    return call.carry_out(record_of(Prune, options, "prune"), net, data)


@takes(Sparsify)
def sparsify(  # noqa: PLR0913  # as above
    net: Network,
    data: Data,
    *,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Make weights of `net` zero, with the dense network as teacher.

    They stay zero in every later stage, and in a loop of your own with `hold_masks`.
    Either sparsity=0.8, a share, or pattern="2:4" has to be given. The other arguments
    and the errors are those of `prune`.
    """
    call = Call("sparsify", size, preprocess, seed, device, quiet)
    return call.carry_out(record_of(Sparsify, options, "sparsify"), net, data)


@takes(Factorize)
def factorize(  # noqa: PLR0913  # as above
    net: Network,
    data: Data,
    *,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Split layers of `net` into thinner ones where that is measured to be faster.

    Either energy=0.9, a share of the variance that each layer keeps, or latency=0.7, a
    share of the network's, has to be given. The other arguments and the errors are
    those of `prune`.
    """
    call = Call("factorize", size, preprocess, seed, device, quiet)
    return call.carry_out(record_of(Factorize, options, "factorize"), net, data)


@takes(FineTune)
def finetune(  # noqa: PLR0913  # as above
    net: Network,
    data: Data,
    *,
    loss: Loss | None = None,
    trained: bool | None = None,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Train a copy of `net` on labels; zeros of `sparsify` stay zero.

    loss: a function of logits [n, classes] and labels [n] that gives a scalar, instead
    of cross-entropy. trained: whether the weights are to be tuned, at a tenth of the
    rate of fresh ones; by default whether they answer better than chance. The other
    arguments and the errors are those of `prune`.
    """
    call = Call("finetune", size, preprocess, seed, device, quiet)
    record = record_of(FineTune, options, "finetune")
    return call.carry_out(record, net, data, trained=trained, loss=loss)


@takes(Distill, hidden=_NOT_HERE)
def distill(  # noqa: PLR0913  # as above
    net: Network,
    data: Data,
    *,
    teacher: Network,
    loss: DistillationLoss | None = None,
    trained: bool | None = None,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Train a copy of `net` to answer as `teacher` does (Hinton et al. 2015).

    teacher: a network of as many classes, fed as `net` is, or as its own Result says.
    loss: a function of the student's and the teacher's logits, [n, classes] each, and
    labels [n] that gives a scalar, instead of alpha T^2 KL + (1 - alpha) cross-entropy.
    trained: see `finetune`. The other arguments and the errors are those of `prune`.
    """
    call = Call("distill", size, preprocess, seed, device, quiet)
    found = call.data(data)
    asked = call.model(teacher, found)
    known = {**options, "teacher": ModelSpec(name=asked.spec.name)}
    record = record_of(Distill, known, "distill", hidden=_NOT_HERE - {"teacher"})
    return call.carry_out(record, net, found, trained=trained, teacher=asked, loss=loss)


@takes(Ptq, Qat)
def quantize(  # noqa: PLR0913  # as above
    net: Network,
    data: Data,
    *,
    mode: Literal["ptq", "qat"] = "ptq",
    metric: Metric | None = None,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Result:
    """Make `net` an INT8 network, which computes as integer kernels do, to the bit.

    mode: ptq, from some hundred images; or qat, by training, to whose options those of
    training belong. Training in a loop of your own is `prepare_qat`. metric: a function
    of logits [n, classes] and labels [n], more is better, that judges instead of top-1,
    for accuracy_drop as well. `findings` of the result say what changed. The other
    arguments and the errors are those of `prune`.
    """
    call = Call(mode, size, preprocess, seed, device, quiet)
    kinds: dict[str, type[Ptq | Qat]] = {"ptq": Ptq, "qat": Qat}
    if mode not in kinds:
        raise RecipeError(f"quantize: mode is {mode!r}; allowed: {', '.join(kinds)}")
    record = record_of(kinds[mode], options, f"quantize ({mode})")
    return call.carry_out(record, net, data, metric=metric)
