"""From trained models to files that provably compute the same, and their latency."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress.data.batches import evaluation_batches
from compress.data.catalogue import Catalogue
from compress.data.data import Images
from compress.job import Job
from compress.models.model import Model
from compress.recipe import Export
from export.to_onnx import to_onnx
from export.verify import Parity, Scores, compare
from runtime.artifact import Artifact
from runtime.files import file_name
from runtime.measure import measure, measure_together
from runtime.measurement import Comparison, Measurement
from runtime.session import Session, open_session
from runtime.target import TARGETS

# Enough to be 95 % sure of 99.6 % agreement if none differs (Wilson 1927).
PARITY_IMAGES = 1000
PARITY_BATCH = 32  # a file with a fixed batch is asked image by image


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A file, what it proved, and what it was made of."""

    role: str
    artifact: Artifact
    parity: Parity
    top1: float | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Every file of a run, and their latencies taken in turn."""

    files: tuple[Proven, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


def prove(
    models: Mapping[str, Model], data: Catalogue, export: Export, job: Job, recipe: str
) -> Proof:
    """Write each model, compare it with its file on real images, then race the files.

    `models` by role, such as "teacher" and "student"; `recipe` is the recipe's digest.
    What a file fails to prove is for the report to say; scores that are not finite, or
    of the wrong shape, are a ParityError at once.
    """
    target = TARGETS["local"]
    with ExitStack() as opened:
        files: list[Proven] = []
        sessions: dict[str, Session] = {}
        for role, model in models.items():
            job.screen.tell(f"export: {role} {model.spec.name} to ONNX")
            name = f"{role}-{file_name(model.spec.name)}.onnx"
            path = job.folder / "artifacts" / name
            artifact = to_onnx(
                model.net,
                size=model.preprocess.size,
                path=path,
                batch=export.batch,
                classes=model.classes,
                preprocess=model.preprocess,
                recipe_sha256=recipe,
                name=model.spec.name,
            )
            session = open_session(artifact, threads=target.threads)
            sessions[name] = session
            opened.enter_context(closing(session))
            files.append(proven(role, model, session, data, job))
        job.screen.tell(f"measure: {', '.join(sessions)}, {target.threads} thread")
        rng = np.random.default_rng(job.seed)
        if len(sessions) > 1:
            measurements, comparisons = measure_together(sessions, rng=rng)
        else:
            measurements, comparisons = measure(sessions, rng=rng), ()
    return Proof(files=tuple(files), measurements=measurements, comparisons=comparisons)


def proven(
    role: str, model: Model, session: Session, data: Catalogue, job: Job
) -> Proven:
    """Compare a file with its network on real images, and count its right answers."""
    images = thinned(data.images(model.preprocess), PARITY_IMAGES)
    expected: list[npt.NDArray[np.int64]] = []
    hits = 0

    def batches() -> Iterator[Scores]:
        for batch in evaluation_batches(images, PARITY_BATCH):
            expected.append(batch.labels.numpy())
            yield model.prepare(batch.pixels).contiguous().numpy()

    def network(batch: Scores) -> Scores:
        with torch.inference_mode():
            scores: Tensor = model.net(torch.from_numpy(batch))
        return np.asarray(scores.numpy())

    def file(batch: Scores) -> Scores:
        nonlocal hits
        scores = session.run(batch)
        hits += int((scores.argmax(axis=1) == expected[-1]).sum())
        return scores

    name = session.artifact.path.name
    found = compare(network, file, batches(), name=name)
    job.screen.tell(f"proof: {name} gives {found.as_text()}")
    known = data.judges(len(model.classes))
    return Proven(
        role=role,
        artifact=session.artifact,
        parity=found,
        top1=hits / found.images if known else None,
    )


def thinned(images: Images, most: int) -> Images:
    """Every n-th image, so that at most `most` are left, without reading any."""
    step = -(-len(images) // most)
    return replace(images, pixels=images.pixels[::step], labels=images.labels[::step])
