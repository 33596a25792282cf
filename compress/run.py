"""The one loop: stage, census, save; then export, verify, measure, report."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from compress.aim import Aim
from compress.checkpoint import is_model, load_model, save_model
from compress.data.catalogue import Catalogue, find
from compress.device import check_device
from compress.exports import wanted
from compress.extras import check_installed
from compress.finished import conclude, settled
from compress.folder import (
    JOURNAL,
    REPORT,
    claimed,
    stage_folder,
)
from compress.int8.simulate import QuantizedNet
from compress.job import Job, cache_folder, is_main_process
from compress.measuring import check_measuring, runtime_of, threads_for
from compress.models.model import Model
from compress.models.opening import check_start, open_model
from compress.outcome import report_of
from compress.passes import heard_by
from compress.prove import prove
from compress.reachable import check_reachable, check_timed
from compress.recipe import Recipe
from compress.report import records
from compress.report.report import Report
from compress.rows import Row, chain_of, last_float, row_of
from compress.screen import Screen
from compress.stages import QUANTISING, keeps_answers
from compress.stages.stage import Stage
from compress.target_grids import calibration_of
from compress.training.resume import forget_state
from runtime.errors import InputRejectedError
from runtime.files import read_json, write_json

SECONDS = "seconds.json"


def aim_of(recipe: Recipe, done: int) -> Aim:
    """What becomes of what the first `done` stages give."""
    later = [name for name, _ in list(recipe.steps())[done:]]
    int8 = any(name in QUANTISING for name in later)
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
    recipe: Recipe, folder: Path, *, device: str, threads: int | None, screen: Screen
) -> Report:
    """Carry out `recipe` in `folder`; what is there already is not done again.

    Every process that `torchrun` started calls this; the first one writes and speaks.
    """
    check_device(device)
    check_installed(*EXPORTERS)
    check_timed(recipe)
    check_measuring(recipe.export, screen)
    if threads is not None:
        torch.set_num_threads(threads)
    return in_run_directory(
        recipe,
        folder,
        device=device,
        screen=screen,
        work=lambda job: _Run(recipe=recipe, job=job).carry_out(),
    )


def in_run_directory(
    recipe: Recipe,
    folder: Path,
    *,
    screen: Screen,
    work: Callable[[Job], Report],
    device: str = "cpu",
) -> Report:
    """Let `work` carry out `recipe` in `folder`, unless its report is there already."""
    with claimed(folder, recipe):
        if (folder / REPORT).is_file():
            report = settled(folder, screen)
            if report is not None:
                return report
        job = Job(
            folder=folder,
            seed=recipe.seed,
            device=device,
            # On a CPU loading and training share the cores, and loading is cheap.
            workers=0 if device == "cpu" else AHEAD,
            cache=cache_folder(),
            screen=replace(
                screen, journal=folder / JOURNAL if is_main_process() else None
            ),
        )
        with heard_by(job.screen):
            return work(job)


def handed_over(report: Report, job: Job) -> Report:
    """Write every form of `report` and the list of what there is, itself last."""
    for sentence in conclude(report, job.folder):
        job.screen.tell(sentence)
    return report


@dataclass(kw_only=True)
class _Run:
    """A run in progress: the rows so far, in the order of the report."""

    recipe: Recipe
    job: Job
    rows: list[Row] = field(default_factory=list)

    def carry_out(self) -> Report:
        """Every stage, then the files, then the report."""
        recipe, job = self.recipe, self.job
        steps = list(recipe.steps())
        check_start(recipe.model, steps)
        data = find(recipe.data, seed=job.seed, screen=job.screen, cache=job.cache)
        adapt = not all(keeps_answers(name, stage) for name, stage in steps)
        model = open_model(recipe.model, data, job, size=recipe.data.size, adapt=adapt)
        if not any(name in QUANTISING for name, _ in steps):
            list(wanted("model", model, recipe.export))  # better refused now than later
        check_reachable(recipe, model)
        self.take("start", model, data, seconds=0.0)
        for number, (name, stage) in enumerate(steps, start=1):
            here = replace(
                job.within(stage_folder(number, name), title=name),
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

    def take(self, name: str, model: Model, data: Catalogue, *, seconds: float) -> None:
        """Take the census of `model` and add its row."""
        self.rows.append(row_of(name, model, data, self.job, seconds=seconds))

    def done(
        self,
        stage: Stage,
        model: Model,
        data: Catalogue,
        here: Job,
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
                here.screen.tell(f"{here.folder.name}: made again, because {reason}")
            else:
                if is_main_process():  # a kill may have come between them
                    forget_state(here.folder)
                here.screen.tell(f"{here.folder.name}: done earlier, taken from there")
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
        """What `model` was cut or quantised from, by row, to be measured beside it."""
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
        return Report.read(self.job.folder)

    def close(self, model: Model, data: Catalogue) -> Report:
        """Files, proof, measurements, and the report of it all."""
        if not is_main_process():  # the others would only disturb the measurements
            return self.awaited()
        made = "student" if self.has("teacher") else "model"
        # What the run made comes last, so that ratios say how much lighter it is.
        ordered = {row.name: row.model for row in self.rows if row.name == "teacher"}
        ordered |= self.made_from(model)
        ordered[made] = model
        proof = prove(
            ordered,
            data,
            self.recipe.export,
            self.job,
            self.recipe.digest(),
            calibration=calibration_of(self.recipe),
        )
        report = handed_over(
            report_of(self.recipe, self.job, data, self.rows, proof), self.job
        )
        if torch.distributed.is_initialized():  # the others wait in `awaited`
            torch.distributed.barrier()
        return report
