"""`quantize --engine nncf`: NNCF chooses the grids, our lowering makes it fast."""

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx

from compress.data.catalogue import find
from compress.exports import Wanted, write
from compress.extras import check_installed
from compress.int8.calibration import batches_of, calibration_images
from compress.int8.nncf_engine import nncf_quantised
from compress.job import Job
from compress.models.opening import check_start, open_model
from compress.nncf_limit import Kept, limit_of
from compress.prove import PARITY_IMAGES, THREADS, int8_share, thinned
from compress.recipe import Recipe
from compress.report.units import percent
from compress.screen import Screen
from export.lower import lowered
from export.to_onnx import write_onnx
from export.verify import Answer, Parity, Scores, compare
from runtime.artifact import Artifact
from runtime.errors import Exit, RecipeError
from runtime.machine import this_machine
from runtime.measure import measure_together
from runtime.measurement import Comparison
from runtime.session import Session, open_session
from runtime.target import int8_target, target

if TYPE_CHECKING:
    from compress.stages.ptq import Ptq


@dataclass(frozen=True, kw_only=True)
class NncfResult:
    """The answer of `quantize --engine nncf`."""

    file: Artifact
    changed: Parity  # against the float file
    speed: Comparison
    int8_macs_fraction: float
    kept: Kept | None = None  # where a limit was given
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{artifact, against_float32, comparison, int8_macs_fraction, limit}."""
        record = {
            "artifact": self.file.as_record(),
            "against_float32": self.changed.as_record(),
            "comparison": self.speed.as_record(),
            "int8_macs_fraction": self.int8_macs_fraction,
            "limit": self.kept and self.kept.as_record(),
        }
        return json.dumps(record, indent=2, allow_nan=False)

    def as_text(self) -> str:
        """What the file is worth, in a few lines."""
        lines = [
            str(self.file.path),
            f"against float32: {self.changed.as_text()}",
            self.speed.as_text(),
            f"{percent(self.int8_macs_fraction)} of the multiply-accumulates in INT8",
        ]
        return "\n".join([*lines, self.kept.as_text()] if self.kept else lines)


def quantize_with_nncf(recipe: Recipe, out: str | None, screen: Screen) -> NncfResult:
    """Write the float file, let NNCF quantise it, lower that, compare and race."""
    check_installed("nncf", "onnx", "onnxruntime")
    if set(recipe.export.to) != {"onnx"}:
        raise RecipeError(
            "--engine nncf: works on the ONNX file and gives no other; leave --to out, "
            "or use --engine edgepress"
        )
    steps = tuple(recipe.steps())
    check_start(recipe.model, steps)
    ((_, stage),) = steps
    options = cast("Ptq", stage)
    if options.accuracy_drop is not None and options.flips is not None:
        raise RecipeError(
            "--engine nncf: keeps within one limit; give --accuracy-drop or --flips, "
            "or use --engine edgepress"
        )
    folder = Path(out or f"runs/{recipe.name}-{recipe.digest()[:8]}")
    job = Job(folder=folder, seed=recipe.seed, screen=screen)
    data = find(recipe.data, seed=job.seed, screen=screen, cache=job.cache)
    model = open_model(recipe.model, data, job, size=recipe.data.size, adapt=False)
    images = calibration_images(
        model, data, job, source=options.calib, count=options.calib_images
    )
    asked = Wanted(role="start", model=model, format="onnx", dtype="float32")
    plain = write(
        asked, folder / "artifacts", export=recipe.export, recipe=recipe.digest()
    )
    named = [target(name) for name in recipe.export.target]
    chosen = named[0] if named else int8_target(this_machine())
    raw = folder / "nncf.onnx"
    shown = thinned(data.images(model.preprocess), PARITY_IMAGES)
    limit = limit_of(options, model, data, plain, shown)
    control = None if limit is None else limit.control()
    nncf_quantised(plain.path, raw, batches_of(model, images), control=control)
    int8 = Wanted(role="nncf", model=model, format="onnx", dtype="int8", target=chosen)
    file = write_onnx(
        lowered(onnx.load(raw), chosen),
        path=folder / "artifacts" / int8.name,
        classes=model.classes,
        preprocess=model.preprocess,
        recipe_sha256=recipe.digest(),
        name=model.spec.name,
        dtype="int8",
        target=chosen,
    )
    raw.unlink()
    before_given: list[int] = []
    after_given: list[int] = []
    with (
        closing(open_session(plain, threads=THREADS)) as before,
        closing(open_session(file, threads=THREADS)) as after,
    ):
        changed = compare(
            _noted(before, before_given),
            _noted(after, after_given),
            (each.contiguous().numpy() for each in batches_of(model, shown)()),
            name=file.path.name,
        )
        sessions = {plain.path.name: before, file.path.name: after}
        rng = np.random.default_rng(job.seed)
        _, (speed,) = measure_together(sessions, rng=rng)
    return NncfResult(
        file=file,
        changed=changed,
        speed=speed,
        int8_macs_fraction=int8_share(file),
        kept=None if limit is None else limit.kept(before_given, after_given),
    )


def _noted(session: Session, given: list[int]) -> Answer:
    """A session that also adds the classes it chooses to `given`."""

    def answer(batch: Scores) -> Scores:
        scores = session.run(batch)
        given.extend(scores.argmax(axis=1).tolist())
        return scores

    return answer
