"""The smallest things that can be trained, and runs of them in processes of their own.

As a script: `halted FOLDER` stops every case by every signal; `shared FOLDER`, under
torchrun, trains one case with every process that there is.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.context.console import Console
from compress.context.context import RunContext
from compress.data.data import Batch, Data, Images
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.recipe.training import Training
from compress.training.fit import fit
from runtime.errors import InterruptedRunError, RecipeError
from runtime.preprocess import Preprocess

CLASSES = ("red", "green", "blue")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
Loss = Callable[[Tensor, Batch], Tensor]


def images(count: int, *, size: int = 8, seed: int = 0) -> Images:
    """Noise in which the channel of the class is brighter."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    pixels = chance.integers(0, 160, (count, size, size, 3), np.uint8)
    pixels[np.arange(count), :, :, labels] += 60
    return Images(
        pixels=pixels, labels=labels, size=size, digest=f"{count} {size} {seed}"
    )


def data(train: int = 26, val: int = 0, *, size: int = 8, seed: int = 0) -> Data:
    """A data set of three classes; without `val`, no epoch is validated."""
    return Data(
        name="colors",
        classes=CLASSES,
        train=images(train, size=size, seed=seed),
        val=images(val, size=size, seed=seed + 1) if val else None,
    )


@dataclass(frozen=True)
class Opened:
    """A catalog that is open already, whoever looks."""

    data: Data

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    @property
    def train(self) -> Images | None:
        return self.data.train

    def open(self, preprocess: Preprocess) -> Data:
        del preprocess
        return self.data

    def images(self, preprocess: Preprocess) -> Images:
        del preprocess
        assert self.data.val is not None
        return self.data.val

    def judges(self, classes: int) -> bool:
        return classes == len(self.data.classes)


def net(*, norm: bool = True, dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Convolution, norm, pooling, classifier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4, len(CLASSES)),
        )


def model(network: nn.Module | None = None, *, size: int = 8) -> Model:
    """A model of the family 'other' around a network."""
    return Model(
        spec=ModelSpec(name="tiny"),
        net=net() if network is None else network,
        preprocess=Preprocess(size=size, resize=size, mean=MEAN, std=STD),
        classes=CLASSES,
    )


def context(folder: Path, **fields: Any) -> RunContext:  # noqa: ANN401  # the fields of RunContext
    """A silent context that keeps a journal and saves after every step."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(verbosity="quiet", journal=folder / "events.jsonl")
    filled = {"save_seconds": 0.0, "cache": folder / "cache", "screen": console}
    return RunContext(folder=folder, **(filled | fields))


def events(made: RunContext, kind: str) -> list[str]:
    """What the journal of a context holds of one kind."""
    assert made.console.journal is not None
    if not made.console.journal.is_file():
        return []
    lines = made.console.journal.read_text(encoding="utf-8").splitlines()
    return [
        event["text"] for line in lines if (event := json.loads(line))["kind"] == kind
    ]


def curve(made: RunContext) -> list[dict[str, float]]:
    """The epochs that the journal of a context tells of."""
    return [json.loads(text) for text in events(made, "epoch")]


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """The plainest loss."""
    return F.cross_entropy(logits, batch.labels)


def interrupting(number: signal.Signals, *, at: int) -> Loss:
    """A loss that sends its own process a signal at step `at`, counted from one."""
    calls = 0

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), number)
        return cross_entropy(logits, batch)

    return loss


def options(**fields: Any) -> Training:  # noqa: ANN401  # the fields of Training
    """Short training on the tiny data, at a constant rate unless told otherwise."""
    filled = {
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.05,
        "schedule": "constant",
        "warmup": 0.0,
    }
    return Training(**(filled | fields))


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to train; three steps an epoch."""

    options: Training
    data: Data
    model: Model

    def trained(
        self, made: RunContext, loss: Loss = cross_entropy
    ) -> dict[str, Tensor]:
        """The weights that training ends with."""
        return fit(self.model, self.data, loss, self.options, made).net.state_dict()


def cases() -> dict[str, Case]:
    """What has to survive an interrupt: everything a step depends on."""
    chance = {"dropout": 0.3}
    return {
        "sgd": Case(
            options=options(epochs=3, optimizer="sgd", schedule="cosine", mixup=0.2),
            data=data(),
            model=model(net(**chance)),
        ),
        "adamw": Case(
            options=options(
                epochs=3,
                optimizer="adamw",
                learning_rate=0.01,
                schedule="one-cycle",
                ema=0.9,
                patience=2,
                clip_norm=1.0,
            ),
            data=data(val=12),
            model=model(net(**chance)),
        ),
    }


# In the middle of the second epoch, and at the last step of an epoch.
MOMENTS = (5, 6)
SIGNALS = (signal.SIGINT, signal.SIGKILL)


def halted(folder: Path) -> None:
    """Train every case in a process that a signal stops, at every moment."""
    codes = {}
    for name, case in cases().items():
        for number in SIGNALS:
            for moment in MOMENTS:
                title = f"{name}-{number.name}-{moment}"
                child = os.fork()
                if child == 0:
                    try:
                        case.trained(
                            context(folder / title), interrupting(number, at=moment)
                        )
                    except InterruptedRunError as error:
                        os._exit(error.exit_code)
                    os._exit(0)
                codes[title] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (folder / "codes.json").write_text(json.dumps(codes), encoding="utf-8")


def shared_case() -> Case:
    """A case whose result does not depend on who sees which image of a batch."""
    return Case(
        options=options(epochs=2, optimizer="sgd", clip_norm=0.5, ema=0.5),
        data=data(val=6),
        model=model(net(norm=False)),
    )


def shared(folder: Path) -> None:
    """Train as one of several processes, and note what this one saw."""
    rank = os.environ["RANK"]
    case, notes = shared_case(), {}
    own = context(folder / f"folder-{rank}")
    save_file(_packed(case.trained(own)), folder / f"through-{rank}.safetensors")
    notes["written"] = sorted(path.name for path in own.folder.iterdir())
    together = context(folder / "together")
    try:  # the signal reaches one process; all have to stop at the same step
        loss = interrupting(signal.SIGINT, at=4) if rank == "1" else cross_entropy
        case.trained(together, loss)
    except InterruptedRunError as error:
        notes["stopped"] = str(error)
    torch.distributed.barrier()
    save_file(_packed(case.trained(together)), folder / f"resumed-{rank}.safetensors")
    try:
        odd = replace(case, options=options(batch_size=7))
        odd.trained(context(folder / f"odd-{rank}"))
    except RecipeError as error:
        notes["odd"] = str(error)
    (folder / f"notes-{rank}.json").write_text(json.dumps(notes), encoding="utf-8")
    torch.distributed.destroy_process_group()


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants it: rows in order."""
    return {name: value.contiguous() for name, value in state.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states have the same names and the same bits."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one
    )


def distance(one: Iterable[Tensor], other: Iterable[Tensor]) -> float:
    """Euclidean, over all tensors together."""
    squares = (
        float(((a - b).detach() ** 2).sum()) for a, b in zip(one, other, strict=True)
    )
    return float(sum(squares) ** 0.5)


if __name__ == "__main__":
    {"halted": halted, "shared": shared}[sys.argv[1]](Path(sys.argv[2]))
