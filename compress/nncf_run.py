"""`quantize --engine nncf`: NNCF chooses the grids, our lowering makes it fast."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import onnx
import torch
from torch import Tensor

from compress.data.batches import evaluation_batches
from compress.data.catalogue import find
from compress.exports import Wanted, write
from compress.extras import check_installed
from compress.int8.calibration import batches_of, calibration_images
from compress.int8.nncf_engine import nncf_quantised
from compress.job import Job
from compress.models.opening import open_model
from compress.prove import PARITY_IMAGES, THREADS, int8_share, thinned
from compress.recipe import Recipe
from compress.report.units import percent
from compress.screen import Screen
from export.lower import lowered
from export.to_onnx import write_onnx
from export.verify import Parity, Scores, compare
from runtime.artifact import Artifact
from runtime.errors import Exit, RecipeError
from runtime.machine import this_machine
from runtime.measure import measure_together
from runtime.measurement import Comparison
from runtime.session import open_session
from runtime.target import int8_target, target

if TYPE_CHECKING:
    from compress.stages.ptq import Ptq

_BATCH: Final = 32


@dataclass(frozen=True, kw_only=True)
class NncfResult:
    """The answer of `quantize --engine nncf`."""

    file: Artifact
    changed: Parity  # against the float file
    speed: Comparison
    int8_macs_fraction: float
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{artifact, against_float32, comparison, int8_macs_fraction}."""
        record = {
            "artifact": self.file.as_record(),
            "against_float32": self.changed.as_record(),
            "comparison": self.speed.as_record(),
            "int8_macs_fraction": self.int8_macs_fraction,
        }
        return json.dumps(record, indent=2, allow_nan=False)

    def as_text(self) -> str:
        """What the file is worth, in a few lines."""
        return (
            f"{self.file.path}\n"
            f"against float32: {self.changed.as_text()}\n"
            f"{self.speed.as_text()}\n"
            f"{percent(self.int8_macs_fraction)} of the multiply-accumulates in INT8"
        )


def quantize_with_nncf(recipe: Recipe, out: str | None, screen: Screen) -> NncfResult:
    """Write the float file, let NNCF quantise it, lower that, compare and race."""
    check_installed("nncf", "onnx", "onnxruntime")
    if set(recipe.export.to) != {"onnx"}:
        raise RecipeError(
            "--engine nncf: works on the ONNX file and gives no other; leave --to out, "
            "or use --engine edgepress"
        )
    ((_, stage),) = recipe.steps()
    options = cast("Ptq", stage)
    if options.accuracy_drop is not None:
        raise RecipeError(
            "--engine nncf: has no doctor; leave --accuracy-drop out, or use --engine "
            "edgepress"
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
    nncf_quantised(plain.path, raw, batches_of(model, images))
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
    shown = thinned(data.images(model.preprocess), PARITY_IMAGES)

    def batches() -> Iterator[Scores]:
        for batch in evaluation_batches(shown, _BATCH):
            prepared: Tensor = model.prepare(batch.pixels)
            yield prepared.contiguous().numpy()

    with (
        closing(open_session(plain, threads=THREADS)) as before,
        closing(open_session(file, threads=THREADS)) as after,
        torch.inference_mode(),
    ):
        changed = compare(before.run, after.run, batches(), name=file.path.name)
        sessions = {plain.path.name: before, file.path.name: after}
        rng = np.random.default_rng(job.seed)
        _, (speed,) = measure_together(sessions, rng=rng)
    return NncfResult(
        file=file,
        changed=changed,
        speed=speed,
        int8_macs_fraction=int8_share(file),
    )
