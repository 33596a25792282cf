"""How often a model, a run or a model file is right on held-out images."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from compress.context.console import Console
from compress.context.context import RunContext, cache_folder
from compress.context.device import check_device
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.evaluation.costs import Accuracy, accuracy
from compress.models.model import Model
from compress.models.opening import open_model
from compress.models.spec import ModelSpec
from runtime.artifact import Artifact
from runtime.batch import check_scores
from runtime.contained import try_out
from runtime.errors import Exit, InputRejectedError, RecipeError
from runtime.printable import printable
from runtime.session import open_session

FILES = (".onnx", ".tflite", ".pte")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The answer of `eval`: fractions of `images`."""

    subject: str
    data: str
    found: Accuracy
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{top1, top5, images, classes}."""
        return json.dumps(asdict(self.found), indent=2)

    def as_text(self) -> str:
        """Two figures, and what they are worth."""
        found = self.found
        # The standard error of a proportion, in points.
        error = 100 * (found.top1 * (1 - found.top1) / max(1, found.images)) ** 0.5
        return (
            f"{printable(self.subject)} on {printable(self.data)}, "
            f"{found.images} images, {found.classes} classes\n"
            f"top-1  {found.top1:7.2%}   (standard error {error:.2f} points)\n"
            f"top-5  {found.top5:7.2%}"
        )


def evaluate(  # noqa: PLR0913  # what, on what, and the flags every verb has
    spec: ModelSpec,
    data: DataSpec,
    *,
    seed: int,
    device: str,
    threads: int | None,
    console: Console,
) -> Evaluation:
    """Judge what `spec` names by the held-out images of `data`."""
    check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    context = RunContext(folder=Path(), seed=seed, device=device, console=console)
    catalog = find(data, seed=seed, console=console, cache=cache_folder())
    if spec.name.endswith(FILES):
        found = _of_file(Path(spec.name), catalog, threads=threads or 1)
    else:
        found = _of_model(
            open_model(spec, catalog, context, size=data.size, adapt=False),
            catalog,
            device,
        )
    return Evaluation(subject=spec.name, data=catalog.name, found=found)


def _of_model(model: Model, data: Catalog, device: str) -> Accuracy:
    """Judge a network."""
    _check_classes(model.spec.name, len(model.classes), data)
    images = data.images(model.preprocess)
    return accuracy(model.with_net(model.net.to(device)), images)


def _of_file(path: Path, data: Catalog, *, threads: int) -> Accuracy:
    """Judge an exported file, with the preprocessing it carries."""
    artifact = Artifact.read(path)
    if artifact.preprocess is None:
        raise InputRejectedError(
            f"{path}: does not say how its images are prepared; keep the .json sidecar "
            "that edgepress wrote beside it"
        )
    preprocess = data.asked(artifact.preprocess)
    if artifact.classes:
        _check_classes(str(path), len(artifact.classes), data)
    try_out(artifact)
    session = open_session(artifact, threads=threads)

    def logits(pixels: Tensor) -> Tensor:
        images = preprocess(pixels.permute(0, 2, 3, 1).numpy())
        found = check_scores(session.run(images), images=len(images), path=path)
        scores = torch.from_numpy(found)
        if not bool(scores.isfinite().all()):
            raise InputRejectedError(
                f"{path}: answers with NaN or infinity, which ranks nothing; export it "
                "again, from a network that gives numbers"
            )
        # Classes that nobody named are known by their number, once it is seen.
        _check_classes(str(path), scores.shape[1], data)
        return scores

    try:
        return accuracy(logits, data.images(preprocess))
    finally:
        session.close()


def _check_classes(name: str, outputs: int, data: Catalog) -> None:
    """Refuse to judge answers by labels that mean something else."""
    if not data.judges(outputs):
        raise RecipeError(
            f"{name}: tells {outputs} classes apart, {data.name} has "
            f"{len(data.classes)}; name data it was trained for, or fine-tune it first "
            "(compress finetune)"
        )
