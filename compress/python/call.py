"""One call of a function: how the network is fed, where it works, what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from torch import nn

from compress.context.console import Console
from compress.context.context import RunContext
from compress.context.device import check_device
from compress.context.memo import Memo
from compress.context.progress import progress_on
from compress.data.dataset import Dataset
from compress.evaluation.accuracy import answered
from compress.evaluation.chance_level import above_chance
from compress.evaluation.scores import PARITY_IMAGES, network_scores, subsampled
from compress.models.model import Model
from compress.pipeline.stages import carry_out
from compress.python.data import Data, dataset
from compress.python.network import Network, model_of, result_of
from compress.python.result import Result
from compress.recipe.stage import Stage
from compress.recipe.training import Training
from runtime.errors import InterruptedRunError, RecipeError
from runtime.preprocess import Preprocess

_AHEAD: Final = 4  # threads that prepare batches while an accelerator computes


@dataclass(frozen=True)
class Call:
    """What every function takes beside its network, its data and its options.

    size, preprocess: how the network is fed, see `model_of`; device: what computes,
    None for where the network is.
    """

    title: str
    size: int | None = None
    preprocess: Preprocess | None = None
    seed: int = 0
    device: str | None = None
    quiet: bool = False

    def fed(self, preprocess: Preprocess | None) -> "Call":
        """The same call, where nothing else was said with this preprocessing."""
        return replace(self, preprocess=self.preprocess or preprocess)

    def model(self, net: Network, data: Dataset | None) -> Model:
        """The network as every stage takes one."""
        return model_of(net, data, size=self.size, preprocess=self.preprocess)

    def data(self, data: Data) -> Dataset:
        """Images to learn from and images to judge by."""
        return dataset(data, seed=self.seed, quiet=self.quiet)

    def judging(self, data: Data) -> Dataset:
        """Images to judge by: the held-out ones, or all of what nobody divided."""
        if isinstance(data, str | Dataset):
            return self.data(data)
        return dataset(None, val=data, quiet=self.quiet)

    @contextmanager
    def context(self, net: Network | None = None) -> Iterator[RunContext]:
        """What a stage may know of the call; nothing of it is left behind.

        An interrupt ends the call as it ends any Python: there is nothing to go on
        from.
        """
        device = self.device or ("cpu" if net is None else device_of(net))
        check_device(device)
        console = Console(verbosity="quiet" if self.quiet else "normal")
        with TemporaryDirectory(prefix="edgepress-") as folder, progress_on(console):
            try:
                yield RunContext(
                    folder=Path(folder) / "work",
                    title=self.title,
                    seed=self.seed,
                    device=device,
                    workers=0 if device == "cpu" else _AHEAD,
                    cache=Path(folder) / "cache",
                    console=console,
                )
            except InterruptedRunError as stopped:
                raise KeyboardInterrupt from stopped

    def carry_out(
        self,
        options: Stage,
        net: Network,
        data: Data,
        *,
        trained: bool | None = True,
        **given: object,
    ) -> Result:
        """A stage; `trained` None: whether the network answers better than chance does.

        given: see `compress.pipeline.stages.carry_out`.
        """
        found = self.data(data)
        model = self.model(net, found)
        if given.get("loss") is None:
            check_labels(self.title, options, model, found)
        if trained is None:
            trained = is_trained(model, found)
        with self.context(net) as context:
            start = replace(model, trained=trained)
            made = carry_out(options, start, found, context, **given)
        return result_of(made.model, findings=made.findings, data=found)


def device_of(net: Network) -> str:
    """Where a network's parameters are; the CPU where it has none."""
    module = net.net if isinstance(net, Result) else net
    first = next(module.parameters(), None) if isinstance(module, nn.Module) else None
    return "cpu" if first is None else str(first.device)


def is_trained(model: Model, data: Dataset) -> bool:
    """Whether a network has learnt something: held-out images tell it from chance.

    Where the labels are not of its classes, nothing speaks against it.
    """
    if not data.judges(len(model.classes)) or len(model.classes) == 1:
        return True
    images = subsampled(data.images(model.preprocess), PARITY_IMAGES)
    given = answered(network_scores(model.net, model, images, Memo()), images.labels)
    check = above_chance(
        given.answers, given.labels, model.classes, file=model.spec.name
    )
    return check.kept is not False


def check_labels(title: str, options: Stage, model: Model, data: Dataset) -> None:
    """Refuse to teach a network labels that are not of its classes."""
    learns = isinstance(options, Training) and options.epochs > 0
    share = getattr(options, "distill", getattr(options, "alpha", 0.0))
    if not learns or share == 1 or data.judges(len(model.classes)):
        return
    alone = "distill=1" if hasattr(options, "distill") else "alpha=1"
    other = "" if share == 0 else f", or learn from answers alone ({alone})"
    raise RecipeError(
        f"{title}: {model.spec.name} gives {len(model.classes)} scores and {data.name} "
        f"has {len(data.classes)} classes; give it a head of as many{other}"
    )
