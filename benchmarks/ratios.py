"""What our conveniences cost, as ratios taken in turn within one run.

    python benchmarks/ratios.py [--rounds 5]

fit against a bare PyTorch loop on the same images, network and optimizer; an epoch of
distillation with kept answers against a plain epoch, and against asking the teacher
every time; `compress --help` against `python -c pass`. The two sides of a ratio run in
turn, the median of the rounds is reported. Writes benchmarks/results/ratios.json.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from compress.context.console import Console
from compress.context.context import RunContext
from compress.context.vision import torchvision
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.models.checkpoint import save_model
from compress.models.model import Model
from compress.models.opening import open_model
from compress.models.spec import ModelSpec
from compress.recipe.distill import Distill
from compress.recipe.finetune import FineTune
from compress.training.views import training_images

RESULT = Path(__file__).resolve().parent / "results" / "ratios.json"
BATCH, EPOCHS, RATE = 64, 2, 0.05
SCREEN = Console(verbosity="quiet")


def bare_loop(model: Model, data: Catalog) -> None:
    """What one writes without any tool: the least work that trains the network."""
    v2 = torchvision.transforms.v2
    images = training_images(data.open(model.preprocess))
    pixels = torch.from_numpy(images.read(np.arange(len(images)))).permute(0, 3, 1, 2)
    labels = torch.from_numpy(images.labels)
    vary = v2.Compose(
        [
            v2.RandomCrop(model.preprocess.size, padding=4),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(model.preprocess.mean, model.preprocess.std),
        ]
    )
    net = copy.deepcopy(model.net).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        net.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for start in range(0, len(labels) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            batch = vary(pixels[rows]).contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(net(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> list[float]:
    """Seconds of `ours` over seconds of `theirs`, round by round, after a warm-up."""
    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for side in (ours, theirs):
            started = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - started)
        if number:
            ratios.append(seconds[0] / seconds[1])
    return ratios


def training_ratios(folder: Path, rounds: int) -> dict[str, list[float]]:
    """The ratios that train something; digits, which need no download."""
    data = find(DataSpec(), seed=0, console=SCREEN, cache=folder)
    # Without a held-out split neither side stops to look at it.
    data = Catalog(**{**vars(data), "val": None})
    context = RunContext(
        folder=folder / "job", cache=folder, console=SCREEN, save_seconds=1e9
    )
    student = open_model(
        ModelSpec(name="cifar_resnet20"), data, context, size=None, adapt=True
    )
    teacher = open_model(
        ModelSpec(name="cifar_resnet56"), data, context, size=None, adapt=True
    )
    save_model(teacher, folder / "teacher")
    options = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}
    plain = FineTune(**options, schedule="constant", optimizer="sgd")
    spec = ModelSpec(name=str(folder / "teacher"))
    kept = Distill(**options, teacher=spec, views=EPOCHS)
    online = Distill(**options, teacher=spec, views=0)
    kept(student, data, context, teacher)  # the first cycle, which asks the teacher

    def alone() -> Model:
        return plain(student, data, context)

    def looked_up() -> Model:
        return kept(student, data, context, teacher)

    def asked() -> Model:
        return online(student, data, context, teacher)

    return {
        "fit / bare loop": in_turn(alone, lambda: bare_loop(student, data), rounds),
        "distil, answers kept / plain": in_turn(looked_up, alone, rounds),
        "distil, teacher asked / answers kept": in_turn(asked, looked_up, rounds),
    }


def help_ratio(rounds: int) -> list[float]:
    """How long the first answer takes; the console script against bare Python."""
    script = Path(sys.executable).with_name("compress")

    def run(*command: object) -> None:
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)

    return in_turn(
        lambda: run(script, "--help"),
        lambda: run(sys.executable, "-c", "pass"),
        rounds,
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found = {"compress --help / python -c pass": help_ratio(4 * rounds)}
    with tempfile.TemporaryDirectory() as folder:
        found |= training_ratios(Path(folder), rounds)
    for name, ratios in found.items():
        low, high = min(ratios), max(ratios)
        print(f"{name:40} {statistics.median(ratios):5.2f}x  ({low:.2f} to {high:.2f})")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
