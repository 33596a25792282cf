"""Files of a network, written and proven; and how long a file takes."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from compress.context.console import Console
from compress.context.context import RunContext
from compress.data.dataset import Dataset
from compress.data.listing import rows_of
from compress.devices.table import device as opened
from compress.models.model import Model
from compress.pipeline.deliver import proven, written
from compress.pipeline.export_plan import wanted
from compress.pipeline.exported import ExportedFile
from compress.pipeline.file_judge import FileJudge
from compress.pipeline.target_grids import Calibration, TargetGrids
from compress.python.call import Call
from compress.python.data import Data
from compress.python.network import Network
from compress.python.options import record_of, takes
from compress.python.result import Exported, Result
from compress.recipe.recipe import Export
from export.output_file import check_path
from export.parity import SQNR_FLOORS_DB, parity_checks
from runtime.artifact import FORMATS, Dtype, Format
from runtime.errors import ParityError, RecipeError
from runtime.files import digest_of, written_whole
from runtime.measurement import Measurement
from runtime.plan import Plan
from runtime.preprocess import Preprocess

# What a call says by its other arguments.
_NOT_HERE: Final = frozenset({"to", "dtype", "target", "device"})
_NOISE: Final = 64  # images


@takes(Export, hidden=_NOT_HERE)
def export(  # noqa: PLR0913  # what a file is made of
    net: Network,
    path: str | Path,
    data: Data | None = None,
    *,
    dtype: Dtype | None = None,
    target: str | None = None,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    quiet: bool = False,
    **options: object,
) -> Exported:
    """Write `net` to `path`, and prove that the file computes what `net` does.

    net: see `prune`; one of `quantize` becomes an INT8 file. path: ends in .onnx,
    .tflite or .pte; its facts are written beside it as .json. data: images to prove it
    on, see `dataset`; by default what the Result was made on, and for any other network
    noise, which shows that the file computes the network, not how that does on images.
    dtype: float32, float16, dynamic or int8; target: the device whose kernels INT8 is
    laid out for (`compress targets` lists them), by default this machine.

    Raises ParityError where the file does not answer as its network does, and then
    leaves none; InputRejectedError where the format has no operator for a layer,
    RecipeError for options that do not go together.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix)
    if kind is None:
        raise RecipeError(
            f"export: {path}: the name must end in one of {', '.join(FORMATS)}"
        )
    check_path(path, kind)
    call = Call("export", size, preprocess, seed, "cpu", quiet)
    asked = _asked(options, kind, dtype, target)
    if data is None and isinstance(net, Result):
        data = net.data
    shown = None if data is None else call.judging(data)
    model = call.model(net, shown)
    with call.context() as context:
        made = _made(model, shown or _noise(model, context), asked, context)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as draft:
            draft.write_bytes(made.artifact.path.read_bytes())
    artifact = replace(made.artifact, path=path)
    artifact.write_sidecar()
    if made.parity is None:  # pragma: no cover  # it was made of a network
        raise TypeError(path)
    return Exported(artifact=artifact, parity=made.parity, changed=made.changed)


def measure(  # noqa: PLR0913  # what a measurement is asked for
    path: str | Path | Exported,
    *,
    runs: int = 200,
    seconds: float | None = None,
    threads: int = 1,
    runtime: str | None = None,
    device: str = "cpu",
    seed: int = 0,
    force: bool = False,
    quiet: bool = False,
) -> Measurement:
    """How long the file at `path` takes for one image, every sample kept.

    `p50_ms` is the median in ms, `doubts()` says in sentences what speaks against it.
    runs: inferences after the warm-up, 10 at least; seconds: to measure instead.
    runtime: what executes it, by default that of its format; device: this machine's
    CPU, or a board of `compress devices`. Raises DeviceError where a measurement means
    nothing (force=True gives it nevertheless), InputRejectedError for a file that
    cannot be run, RecipeError where there is none.
    """
    file = path.path if isinstance(path, Exported) else Path(path)
    plan = Plan(
        runs=runs,
        seconds=seconds,
        threads=threads,
        runtime=runtime,
        seed=seed,
        force=force,
    )
    console = Console(verbosity="quiet" if quiet else "normal")
    (found,) = opened(device).measure([file], plan, console).measurements
    return found


def _asked(
    options: dict[str, object], kind: Format, dtype: Dtype | None, target: str | None
) -> Export:
    """The record of one file."""
    said = [name for name in options if name in _NOT_HERE]
    if said:
        raise RecipeError(f"export: {said[0]}: is not an option here; leave it out")
    numbers = () if dtype is None else (dtype,)
    devices = () if target is None else (target,)
    known = {**options, "to": (kind,), "dtype": numbers, "target": devices}
    return record_of(Export, known, "export")


def _made(
    model: Model, data: Dataset, asked: Export, context: RunContext
) -> ExportedFile:
    """The one file that is asked for, in the context's folder, and what it proved."""
    wishes = list(wanted("model", model, asked))
    if len(wishes) > 1 or wishes[0].format not in asked.to:
        raise RecipeError(
            f"export: {', '.join(each.name for each in wishes)}: one file is written "
            "at a time; choose a target of the file's format"
        )
    grids = TargetGrids(data=data, context=context, calibration=Calibration())
    wish = grids.chosen(wishes[0])
    session, found = written(wish, data, asked, context, digest_of(asked.model_dump()))
    with closing(session):
        judge = FileJudge(data=data, before=None, memo=context.memo)
        made = proven(judge, wish, session, found)
    context.console.tell(f"export: {made.as_text()}")
    _check(made, asked)
    return made


def _check(made: ExportedFile, asked: Export) -> None:
    """Refuse a file that does not answer as its network does."""
    if made.parity is None:
        return
    checks = parity_checks(
        made.parity,
        file=made.name,
        threshold=asked.agreement,
        floor_db=SQNR_FLOORS_DB[made.artifact.dtype or "float32"],
        default="agreement" not in asked.model_fields_set,
    )
    if not all(check.kept for check in checks):
        raise ParityError(f"export: {made.as_text()}; nothing was written")


def _noise(model: Model, context: RunContext) -> Dataset:
    """Random images, where there are no others; whatever a network says is right."""
    side, rng = model.preprocess.size, np.random.default_rng(context.seed)
    pixels = rng.integers(0, 256, (_NOISE, side, side, 3), dtype=np.uint8)
    return Dataset(
        name="noise",
        classes=model.classes,
        indexed=False,
        native_size=side,
        train=None,
        val=rows_of(pixels, np.zeros(_NOISE, np.int64)),
        cache=context.cache,
        console=context.console,
    )
