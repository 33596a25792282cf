"""`export` and `quantize` of a TensorFlow SavedModel: it has no layers, only a graph.

TensorFlow's own converter makes the files; the float one is what the others are held
against.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from compress.context.console import Console
from compress.context.context import RunContext
from compress.context.progress import Counted, passed
from compress.data.batches import batch_count, evaluation_batches
from compress.data.calibration import chosen_images
from compress.data.data import Images
from compress.data.dataset import Catalog, find
from compress.pipeline.deliver import THREADS, timed
from compress.pipeline.exported import Delivery, ExportedFile, quantization_of
from compress.pipeline.file_judge import PARITY_IMAGES, besides, int8_share, thinned
from compress.pipeline.outcome import report_of
from compress.pipeline.reference import Reference
from compress.pipeline.run import handed_over, in_run_directory
from compress.pipeline.selftest import keep_own_selftest
from compress.recipe.ptq import Ptq
from compress.recipe.recipe import Recipe
from compress.report.report import Report
from export.from_tensorflow import refuse_program, to_tflite
from export.parity import Scores, parity_of
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import file_name
from runtime.preprocess import Preprocess
from runtime.session import Session, open_session

_MUTE: Final = "by TensorFlow, in one call that says nothing until it ends"
_BATCH: Final = 32
_HALF: Final = (0.5, 0.5, 0.5)  # -1 to 1, which TensorFlow's image models are fed
_CONVERTS: Final[dict[str, Literal["float32", "float16", "int8"]]] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
}


def convert(
    recipe: Recipe,
    folder: Path,
    *,
    console: Console,
    trusted: bool,
    ptq: Ptq | None = None,
) -> Report:
    """Write the TFLite files that `recipe` asks of a SavedModel, and compare them.

    A SavedModel is a program, so the user must say that it is `trusted`. `ptq` says
    which images INT8 is calibrated on, and asks for such a file.
    """
    source = Path(recipe.model.name)
    refuse_program(source, trusted=trusted)
    asked = dict.fromkeys(recipe.export.dtype or (("int8",) if ptq else ("float32",)))
    for dtype in asked:
        if dtype not in _CONVERTS:
            raise RecipeError(
                f"export: {dtype}: a SavedModel is written in "
                f"{', '.join(_CONVERTS)} only"
            )
    if "onnx" in recipe.export.to and len(recipe.export.to) > 1:
        raise RecipeError(
            f"{source}: a SavedModel is exported to TFLite only; leave onnx out, or "
            "save the Keras model as .keras, whose layers can be read"
        )
    return in_run_directory(
        recipe,
        folder,
        console=console,
        work=lambda context: _carried_out(recipe, context, tuple(asked), ptq or Ptq()),
    )


def _carried_out(
    recipe: Recipe, context: RunContext, asked: tuple[str, ...], ptq: Ptq
) -> Report:
    """Every file, what it keeps of the float one, and the report of it."""
    data = find(
        recipe.data, seed=context.seed, console=context.console, cache=context.cache
    )
    with ExitStack() as opened:
        writer = _Writer.of(recipe, context, data, ptq)
        images = thinned(data.images(writer.preprocess), PARITY_IMAGES)
        more = besides(data, writer.preprocess, images)
        sessions: dict[str, Session] = {}
        files: list[ExportedFile] = []
        plain: list[Scores] = []
        for dtype in dict.fromkeys(("float32", *asked)):
            session = open_session(writer.written(dtype), threads=THREADS)
            opened.enter_context(closing(session))
            sessions[session.artifact.path.name] = session
            keep_own_selftest(session, data, recipe.export)
            given = _scores(session, images, writer.preprocess)
            told = [given]
            if more is not None:
                told.append(_scores(session, more, writer.preprocess))
            plain = told if dtype == "float32" else plain
            role = "model" if dtype in asked else "start"
            files.append(_proven(role, session.artifact, told, plain, images))
        measurements, comparisons = timed(sessions, recipe.export, context)
    # What was asked for comes last, and is what is delivered.
    ordered = sorted(files, key=lambda file: file.role == "model")
    proof = Delivery(
        files=tuple(ordered), measurements=measurements, comparisons=comparisons
    )
    int8 = [each for each in files if each.artifact.dtype == "int8"]
    report = report_of(
        recipe,
        context,
        data,
        (),
        proof,
        reference=_reference(files[0]),
        quantisation=quantization_of(files[0], int8[0]) if int8 else {},
    )
    return handed_over(report, context)


def _proven(
    role: str,
    artifact: Artifact,
    told: Sequence[Scores],
    plain: Sequence[Scores],
    images: Images,
) -> ExportedFile:
    """A file beside the float one's scores; rounding to INT8 is no mistake of a file.

    told, plain: of the held-out `images`, and of others where those are few. Of the
    float file itself there is nothing to compare it with.
    """
    name, int8, given = artifact.path.name, artifact.dtype == "int8", told[0]
    held = None
    if told is not plain:
        asked = zip(plain, told, strict=True) if int8 else [(plain[0], given)]
        held = parity_of(asked, name=name, classes=bool(artifact.classes))
    return ExportedFile(
        role=role,
        artifact=artifact,
        parity=None if int8 else held,
        changed=held if int8 else None,
        answers=given.argmax(axis=1) if artifact.classes else None,
        labels=np.asarray(images.labels) if artifact.classes else None,
        int8_macs_fraction=int8_share(artifact),
    )


def _scores(session: Session, images: Images, preprocess: Preprocess) -> Scores:
    """What a file answers: float32 [images, outputs]."""
    count = batch_count(len(images), batch_size=_BATCH, drop_last=False)
    fed = Counted(_fed_with(images, preprocess), count)
    return np.concatenate([session.run(batch) for batch in passed("proof", fed)])


def _reference(plain: ExportedFile) -> Reference | None:
    """What accuracy is held against: the float file, where labels fit."""
    if plain.answers is None or plain.labels is None:
        return None
    return Reference(name="float32", answers=plain.answers, labels=plain.labels)


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """What the files of one SavedModel share; the float one is there already."""

    recipe: Recipe
    context: RunContext
    data: Catalog
    ptq: Ptq
    plain: Artifact
    preprocess: Preprocess

    @classmethod
    def of(
        cls, recipe: Recipe, context: RunContext, data: Catalog, ptq: Ptq
    ) -> "_Writer":
        """Write the float file, and learn from it what the model is fed."""
        source = Path(recipe.model.name)
        context.console.tell(f"export: {source.name} to TFLite, float32, {_MUTE}")
        bare = to_tflite(
            source, _path(source, context, "float32"), dtype="float32", trusted=True
        )
        with closing(open_session(bare, threads=THREADS)) as session:
            preprocess = data.asked(_fed(session, recipe, source))
            classes = data.classes if data.judges(_outputs(session)) else ()
        plain = replace(
            bare,
            classes=classes,
            preprocess=preprocess,
            recipe_sha256=recipe.digest(),
        )
        plain.write_sidecar()
        return cls(
            recipe=recipe,
            context=context,
            data=data,
            ptq=ptq,
            plain=plain,
            preprocess=preprocess,
        )

    def written(self, dtype: str) -> Artifact:
        """The file in `dtype`."""
        if dtype == "float32":
            return self.plain
        source = Path(self.recipe.model.name)
        self.context.console.tell(f"export: {source.name} to TFLite, {dtype}, {_MUTE}")
        images = None
        if dtype == "int8":
            images = _representative(self.data, self.preprocess, self.context, self.ptq)
        return to_tflite(
            source,
            _path(source, self.context, dtype),
            dtype=_CONVERTS[dtype],
            images=images,
            classes=self.plain.classes,
            preprocess=self.preprocess,
            recipe_sha256=self.recipe.digest(),
            trusted=True,
        )


def _path(source: Path, context: RunContext, dtype: str) -> Path:
    """Where the file in `dtype` goes."""
    stem = f"model-{file_name(source.resolve().name)}"
    named = stem if dtype == "float32" else f"{stem}-{dtype}"
    return context.folder / "artifacts" / f"{named}.tflite"


def _fed(session: Session, recipe: Recipe, source: Path) -> Preprocess:
    """What the model is fed; a SavedModel says its size, and not its normalization."""
    shape = session.input_shape
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:  # noqa: PLR2004  # [n, h, w, 3]
        raise InputRejectedError(
            f"{source}: takes {list(shape)}; allowed: square color images "
            "[n, size, size, 3]"
        )
    return Preprocess(
        size=shape[1],
        resize=recipe.data.size or shape[1],
        mean=_HALF,
        std=_HALF,
        layout="NHWC",
    )


def _outputs(session: Session) -> int:
    """How many classes a file tells apart."""
    return int(session.run(np.zeros(session.input_shape, np.float32)).shape[1])


def _representative(
    data: Catalog, preprocess: Preprocess, context: RunContext, ptq: Ptq
) -> Iterator[npt.NDArray[np.float32]]:
    """Calibration images, one by one, as TensorFlow's converter wants them."""
    images = chosen_images(
        data, preprocess, context, source=ptq.calib, count=ptq.calib_images
    )
    for batch in _fed_with(images, preprocess):
        for image in batch:
            yield image[None]


def _fed_with(images: Images, preprocess: Preprocess) -> Iterator[Scores]:
    """Images as the model is fed them, in batches."""
    for batch in evaluation_batches(images, _BATCH):
        yield preprocess(batch.pixels.permute(0, 2, 3, 1).numpy())
