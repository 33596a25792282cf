"""From trained models to files that provably compute the same, and their latency."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compress.data.batches import evaluation_batches
from compress.data.catalogue import Catalogue
from compress.data.data import Images
from compress.exports import Wanted, wanted, write
from compress.int8.simulate import QuantizedNet
from compress.job import Job
from compress.models.model import Model
from compress.placing import Placed, placed
from compress.recipe import Export
from export.verify import Parity, Scores, compare
from runtime.artifact import Artifact
from runtime.measure import measure, measure_together
from runtime.measurement import Comparison, Measurement
from runtime.session import Session, open_session

# Enough to be 95 % sure of 99.6 % agreement if none differs (Wilson 1927).
PARITY_IMAGES = 1000
PARITY_BATCH = 32  # a file with a fixed batch is asked image by image
THREADS = 1  # what latencies are taken with, so that they compare


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A file, what it proved, and what it was made of."""

    role: str
    artifact: Artifact
    parity: Parity
    top1: float | None
    int8_macs_fraction: float = 0.0
    placement: Mapping[str, object] | None = None  # why parts of it are float


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Every file of a run, and the latencies, taken in turn, of those that run here."""

    files: tuple[Proven, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


def prove(
    models: Mapping[str, Model], data: Catalogue, export: Export, job: Job, recipe: str
) -> Proof:
    """Write each model, compare it with its files on real images, then race the files.

    `models` by role, such as "teacher" and "student"; the last is what the run made and
    gets every file that `export` asks for, the others one in float32 to compare with.
    `recipe` is the recipe's digest. What a file fails to prove is for the report to
    say; scores that are not finite, or of the wrong shape, are a ParityError at once.
    """
    last = list(models)[-1]
    plain = export.model_copy(update={"dtype": ("float32",), "to": export.to[:1]})
    asked = [
        each
        for role, model in models.items()
        for each in wanted(role, model, export if role == last else plain)
    ]
    with ExitStack() as opened:
        files: list[Proven] = []
        sessions: dict[str, Session] = {}
        for each in asked:
            job.screen.tell(f"export: {each.name}")
            found = placed(each, export, job, recipe)
            artifact = write(
                each,
                job.folder / "artifacts",
                export=export,
                recipe=recipe,
                left_float=found.left_float,
            )
            session = open_session(artifact, threads=THREADS)
            opened.enter_context(closing(session))
            if each.runs_here:
                sessions[each.name] = session
            files.append(proven(each, session, data, job, found))
        job.screen.tell(f"measure: {', '.join(sessions)}, {THREADS} thread")
        rng = np.random.default_rng(job.seed)
        if len(sessions) > 1:
            measurements, comparisons = measure_together(sessions, rng=rng)
        else:
            measurements, comparisons = measure(sessions, rng=rng), ()
    return Proof(files=tuple(files), measurements=measurements, comparisons=comparisons)


def proven(
    asked: Wanted, session: Session, data: Catalogue, job: Job, found: Placed
) -> Proven:
    """Compare a file with its network on real images, and count its right answers."""
    model, artifact = asked.model, session.artifact
    images = thinned(data.images(model.preprocess), PARITY_IMAGES)
    expected: list[npt.NDArray[np.int64]] = []
    hits = 0
    net: nn.Module = asked.reference
    if isinstance(net, QuantizedNet):
        net = QuantizedNet(net.graph, net.scheme.without(found.left_float))

    def batches() -> Iterator[Scores]:
        for batch in evaluation_batches(images, PARITY_BATCH):
            expected.append(batch.labels.numpy())
            yield model.prepare(batch.pixels).contiguous().numpy()

    def network(batch: Scores) -> Scores:
        with torch.inference_mode():
            scores: Tensor = net(torch.from_numpy(batch))
        return np.asarray(scores.numpy())

    def file(batch: Scores) -> Scores:
        nonlocal hits
        scores = session.run(in_layout_of(artifact, batch))
        hits += int((scores.argmax(axis=1) == expected[-1]).sum())
        return scores

    name = artifact.path.name
    parity = compare(network, file, batches(), name=name)
    job.screen.tell(f"proof: {name} gives {parity.as_text()}")
    known = data.judges(len(model.classes))
    return Proven(
        role=asked.role,
        artifact=artifact,
        parity=parity,
        top1=hits / parity.images if known else None,
        int8_macs_fraction=int8_share(artifact),
        placement=found.record,
    )


def in_layout_of(artifact: Artifact, batch: Scores) -> Scores:
    """Images [n, 3, size, size] as the file wants them."""
    nhwc = artifact.preprocess is not None and artifact.preprocess.layout == "NHWC"
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if nhwc else batch


def int8_share(artifact: Artifact) -> float:
    """The share of the MACs that run in INT8, counted in the file itself."""
    if artifact.dtype != "int8":
        return 0.0
    if artifact.format == "onnx":
        from export.lower import int8_macs_fraction as of_onnx

        return of_onnx(artifact.path)
    from export.tflite.reading import int8_macs_fraction as of_tflite

    return of_tflite(artifact.path)


def thinned(images: Images, most: int) -> Images:
    """Every n-th image, so that at most `most` are left, without reading any."""
    step = -(-len(images) // most)
    return images.only(slice(None, None, step))
