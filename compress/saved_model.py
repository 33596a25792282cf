"""`export` and `quantize` of a TensorFlow SavedModel: it has no layers, only a graph.

TensorFlow's own converter makes the files; the float one is what the others are held
against.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from compress.data.batches import evaluation_batches
from compress.data.catalogue import Catalogue, find
from compress.data.data import Images
from compress.int8.calibration import chosen_images
from compress.job import Job
from compress.recipe import Recipe
from compress.report import units
from compress.screen import Screen
from compress.stages.ptq import Ptq
from export.from_tensorflow import refuse_program, to_tflite
from export.verify import Parity, Scores, compare
from runtime.artifact import Artifact
from runtime.errors import Exit, InputRejectedError, RecipeError
from runtime.files import file_name
from runtime.preprocess import Preprocess
from runtime.session import Session, open_session

_BATCH: Final = 32
_JUDGED_BY: Final = 1000
_HALF: Final = (0.5, 0.5, 0.5)  # -1 to 1, which TensorFlow's image models are fed
_CONVERTS: Final[dict[str, Literal["float32", "float16", "int8"]]] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
}


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The answer: each file, and how far it agrees with the float one."""

    files: tuple[tuple[Artifact, Parity | None], ...]
    agreement: float

    @property
    def exit_code(self) -> int:
        """Parity failed where a float file agrees on less than was asked for.

        What rounding to INT8 changes is told; it is no mistake of the file.
        """
        failed = any(
            parity.argmax_agreement < self.agreement
            for file, parity in self.files
            if parity is not None and file.dtype != "int8"
        )
        return Exit.PARITY if failed else Exit.FIT

    def as_json(self) -> str:
        """{artifacts[{…, parity}]}."""
        record = {
            "artifacts": [
                {**file.as_record(), "parity": parity.as_record() if parity else None}
                for file, parity in self.files
            ]
        }
        return json.dumps(record, indent=2, allow_nan=False)

    def as_text(self) -> str:
        """Two lines a file."""
        lines = []
        for file, parity in self.files:
            lines.append(f"{units.size(file.size_bytes)}  {file.path}")
            if parity is not None:
                lines.append(f"    against the float file: {parity.as_text()}")
        return "\n".join(lines)


def convert(
    recipe: Recipe,
    *,
    out: str | None,
    screen: Screen,
    trusted: bool,
    ptq: Ptq | None = None,
) -> Converted:
    """Write the TFLite files that `recipe` asks of a SavedModel, and compare them.

    A SavedModel is a program, so the user must say that it is `trusted`. `ptq` says
    which images INT8 is calibrated on, and asks for such a file.
    """
    source = Path(recipe.model.name)
    refuse_program(source, trusted=trusted)
    wanted = dict.fromkeys(("float32", *(["int8"] if ptq else recipe.export.dtype)))
    for dtype in wanted:
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
    folder = Path(out or f"runs/{recipe.name}-{recipe.digest()[:8]}") / "artifacts"
    job = Job(folder=folder, seed=recipe.seed, screen=screen)
    data = find(recipe.data, seed=job.seed, screen=screen, cache=job.cache)
    stem = file_name(source.resolve().name)
    plain = to_tflite(
        source, folder / f"model-{stem}.tflite", dtype="float32", trusted=trusted
    )
    with ExitStack() as opened:
        reference = opened.enter_context(closing(open_session(plain)))
        preprocess = _fed(reference, recipe, source)
        shown = data.images(preprocess)
        files: list[tuple[Artifact, Parity | None]] = []
        for dtype in wanted:
            screen.tell(f"export: {stem} to TFLite, {dtype}")
            name = f"model-{stem}{'' if dtype == 'float32' else '-' + dtype}.tflite"
            images = None
            if dtype == "int8":
                images = _representative(data, preprocess, job, ptq or Ptq())
            file = to_tflite(
                source,
                folder / name,
                dtype=_CONVERTS[dtype],
                images=images,
                classes=data.classes if data.judges(_outputs(reference)) else (),
                preprocess=preprocess,
                recipe_sha256=recipe.digest(),
                trusted=trusted,
            )
            parity = None
            if dtype != "float32":
                session = opened.enter_context(closing(open_session(file)))
                parity = compare(
                    reference.run, session.run, _fed_with(shown, preprocess), name=name
                )
            files.append((file, parity))
    return Converted(files=tuple(files), agreement=recipe.export.agreement)


def _fed(session: Session, recipe: Recipe, source: Path) -> Preprocess:
    """What the model is fed; a SavedModel says its size, and not its normalisation."""
    shape = session.input_shape
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:  # noqa: PLR2004  # [n, h, w, 3]
        raise InputRejectedError(
            f"{source}: takes {list(shape)}; allowed: square colour images "
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
    data: Catalogue, preprocess: Preprocess, job: Job, ptq: Ptq
) -> Iterator[npt.NDArray[np.float32]]:
    """Calibration images, one by one, as TensorFlow's converter wants them."""
    images = chosen_images(
        data, preprocess, job, source=ptq.calib, count=ptq.calib_images
    )
    for batch in _fed_with(images, preprocess):
        for image in batch:
            yield image[None]


def _fed_with(images: Images, preprocess: Preprocess) -> Iterator[Scores]:
    """Images as the model is fed them, in batches."""
    step = -(-len(images) // _JUDGED_BY)
    for number, batch in enumerate(evaluation_batches(images, _BATCH)):
        if number % step == 0:
            yield preprocess(batch.pixels.permute(0, 2, 3, 1).numpy())
