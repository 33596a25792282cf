"""The one loop: stage, costs_of, save; then export, verify, measure, report."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from compress.context.aim import Aim
from compress.context.console import Console
from compress.context.context import RunContext, cache_folder, is_main_process
from compress.context.device import check_device
from compress.context.extras import check_installed
from compress.context.progress import progress_on
from compress.data.dataset import Catalog, find
from compress.devices.measuring import check_measuring, runtime_of, threads_for
from compress.int8.simulate import QuantizedNet
from compress.models.checkpoint import is_model, load_model, save_model
from compress.models.model import Model
from compress.models.opening import check_start, open_model
from compress.pipeline.deliver import deliver
from compress.pipeline.export_plan import wanted
from compress.pipeline.finished import conclude, settled
from compress.pipeline.outcome import report_of
from compress.pipeline.reachable import check_reachable, check_timed
from compress.pipeline.rows import Row, chain_of, last_float, row_of
from compress.pipeline.run_directory import (
    JOURNAL,
    REPORT,
    claimed,
    stage_folder,
)
from compress.pipeline.target_grids import calibration_of
from compress.recipe.recipe import Recipe
from compress.recipe.stage import Stage
from compress.recipe.stages import QUANTIZING, keeps_answers
from compress.report import records
from compress.report.report import Report
from compress.training.resume import forget_state
from runtime.errors import InputRejectedError
from runtime.files import read_json, write_json

SECONDS = "seconds.json"


def aim_of(recipe: Recipe, done: int) -> Aim:
    """What becomes of what the first `done` stages give."""
    later = [name for name, _ in list(recipe.steps())[done:]]
    int8 = any(name in QUANTIZING for name in later)
    return Aim(
        dtype="int8" if int8 else "float32",
        device=recipe.export.device,
        threads=threads_for(recipe.export),
        runtime=runtime_of(recipe.export),
    )


AHEAD = 4  # threads that prepare batches while an accelerator computes
# What every run ends with; better missed before the training than after it.
EXPORTERS = ("onnx", "onnxscript", "onnxruntime")


def run(
    recipe: Recipe, folder: Path, *, device: str, threads: int | None, console: Console
) -> Report:
    """Carry out `recipe` in `folder`; what is there already is not done again.

    Every process that `torchrun` started calls this; the first one writes and speaks.
    """
    check_device(device)
    check_installed(*EXPORTERS)
    check_timed(recipe)
    check_measuring(recipe.export, console)
    if threads is not None:
        torch.set_num_threads(threads)
    return in_run_directory(
        recipe,
        folder,
        device=device,
        console=console,
        work=lambda context: _Run(recipe=recipe, context=context).carry_out(),
    )


def in_run_directory(
    recipe: Recipe,
    folder: Path,
    *,
    console: Console,
    work: Callable[[RunContext], Report],
    device: str = "cpu",
) -> Report:
    """Let `work` carry out `recipe` in `folder`, unless its report is there already."""
    with claimed(folder, recipe):
        if (folder / REPORT).is_file():
            report = settled(folder, console)
            if report is not None:
                return report
        context = RunContext(
            folder=folder,
            seed=recipe.seed,
            device=device,
            # On a CPU loading and training share the cores, and loading is cheap.
            workers=0 if device == "cpu" else AHEAD,
            cache=cache_folder(),
            console=replace(
                console, journal=folder / JOURNAL if is_main_process() else None
            ),
        )
        with progress_on(context.console):
            return work(context)


def handed_over(report: Report, context: RunContext) -> Report:
    """Write every form of `report` and the list of what there is, itself last."""
    for sentence in conclude(report, context.folder):
        context.console.tell(sentence)
    return report


@dataclass(kw_only=True)
class _Run:
    """A run in progress: the rows so far, in the order of the report."""

    recipe: Recipe
    context: RunContext
    rows: list[Row] = field(default_factory=list)

    def carry_out(self) -> Report:
        """Every stage, then the files, then the report."""
        recipe, context = self.recipe, self.context
        steps = list(recipe.steps())
        check_start(recipe.model, steps)
        data = find(
            recipe.data, seed=context.seed, console=context.console, cache=context.cache
        )
        adapt = not all(keeps_answers(name, stage) for name, stage in steps)
        model = open_model(
            recipe.model, data, context, size=recipe.data.size, adapt=adapt
        )
        if not any(name in QUANTIZING for name, _ in steps):
            list(wanted("model", model, recipe.export))  # better refused now than later
        check_reachable(recipe, model)
        self.take("start", model, data, seconds=0.0)
        for number, (name, stage) in enumerate(steps, start=1):
            here = replace(
                context.within(stage_folder(number, name), title=name),
                aim=aim_of(recipe, number),
            )
            guide = stage.guide(model, data, here)
            if guide is not None and not self.has("teacher"):
                self.take("teacher", guide, data, seconds=0.0)
                self.rows.insert(0, self.rows.pop())
            before = model
            model, seconds = self.done(stage, before, data, here, guide)
            self.take(name, model, data, seconds=seconds)
            for title, rival in stage.rivals().items():
                other, seconds = self.done(
                    rival, before, data, here.within(title, title=title), None
                )
                self.take(title, other, data, seconds=seconds)
        return self.close(model, data)

    def has(self, name: str) -> bool:
        """Whether there is a row of that name."""
        return any(row.name == name for row in self.rows)

    def take(self, name: str, model: Model, data: Catalog, *, seconds: float) -> None:
        """Take the costs_of of `model` and add its row."""
        self.rows.append(row_of(name, model, data, self.context, seconds=seconds))

    def done(
        self,
        stage: Stage,
        model: Model,
        data: Catalog,
        here: RunContext,
        guide: Model | None,
    ) -> tuple[Model, float]:
        """What `stage` makes of `model`, and in how many seconds; made once, kept."""
        clock = here.folder / SECONDS
        if is_model(here.folder):
            try:
                kept = load_model(here.folder, factory=model.spec.factory)
                seconds = records.number(read_json(clock), "seconds") or 0.0
            except InputRejectedError as error:
                reason = str(error).partition(";")[0]
                here.console.tell(f"{here.folder.name}: made again, because {reason}")
            else:
                if is_main_process():  # a kill may have come between them
                    forget_state(here.folder)
                here.console.tell(f"{here.folder.name}: done earlier, taken from there")
                return kept, seconds
        started = time.monotonic()
        made = stage(model, data, here, guide)
        seconds = time.monotonic() - started
        if is_main_process():
            write_json(clock, {"seconds": seconds})
            save_model(made, here.folder)
            forget_state(here.folder)
        return made, seconds

    def made_from(self, model: Model) -> dict[str, Model]:
        """What `model` was cut or quantized from, by row, to be measured beside it."""
        first, found = chain_of(self.rows)[0], {}
        if model.surgery != first.model.surgery:
            found[first.name] = first.model
        source = last_float(self.rows)
        if isinstance(model.net, QuantizedNet) and source is not None:
            found[source.name] = source.model
        return found

    def awaited(self) -> Report:
        """The report that the first of several processes writes."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        return Report.read(self.context.folder)

    def close(self, model: Model, data: Catalog) -> Report:
        """Files, proof, measurements, and the report of it all."""
        if not is_main_process():  # the others would only disturb the measurements
            return self.awaited()
        made = "student" if self.has("teacher") else "model"
        # What the run made comes last, so that ratios say how much lighter it is.
        ordered = {row.name: row.model for row in self.rows if row.name == "teacher"}
        ordered |= self.made_from(model)
        ordered[made] = model
        proof = deliver(
            ordered,
            data,
            self.recipe.export,
            self.context,
            self.recipe.digest(),
            calibration=calibration_of(self.recipe),
        )
        report = handed_over(
            report_of(self.recipe, self.context, data, self.rows, proof), self.context
        )
        if torch.distributed.is_initialized():  # the others wait in `awaited`
            torch.distributed.barrier()
        return report
