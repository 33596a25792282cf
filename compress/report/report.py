"""The report of a run: the contract of report.json, its verdict, and its four forms."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from compress.pipeline.run_directory import REPORT
from compress.report.records import (
    Record,
    checked_record,
    checked_records,
    inner,
    number,
    sentences,
    text,
)
from compress.report.shown import in_markdown, shown_as
from runtime.errors import Exit, InputRejectedError, RecipeError
from runtime.files import read_json, write_text
from runtime.printable import printable
from runtime.requirements import pip_line

# Version of the contract; keys are only ever added.
SCHEMA: Final = 1
# The two forms of the report for people.
PLAIN: Final = "report.md"
PAGE: Final = "report.html"
_NUMBERS: Final = re.compile(r"\[\n\s+(-?\d[^\[\]{}\"]*?)\n\s+\]")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run found; `folder` is where its files are, paths are relative to it.

    rows: {stage, model, params, macs, size_bytes, top1, top5, activation_bytes,
    training_bytes, seconds}, top1 a fraction or None; stages "teacher" and "start" are
    what the run began with, "alone" is a rival. artifacts: `Artifact.as_record`, path
    relative to `folder`, and role, top1, parity. measurements: `Measurement.as_record`
    and role: "teacher", "student" or "model". comparisons: `Comparison.as_record`.
    predictions: of latencies on a board, where the budget asks for them,
    `compress.prediction.prediction.Prediction.as_record`; never a measurement.
    curves: {stage, epoch, loss, top1}. quantization: what a stage that quantized found,
    {float32, int8, rungs, operators, float_operators}; pruning: what one that cut
    channels or blocks took, see compress.pruning.record; sparsity: what one that made
    weights zero left, {pattern, weights, zeros, layers}, and artifacts have gzip_bytes
    then; factorization: what became of each layer, {layers}; advice: sentences on
    which file to take; doubts: why the training itself may be worth little. budget:
    {limits, reference, violations}; reference: the row that accuracy is held
    against. checks: every limit, ours included, held against every file that was
    delivered, `runtime.checks.Check.as_record`; ship: one file for each target,
    {target, path, reason}; refused: files that were asked for and cannot be
    written, {file, reason}; trained: whether the network ever learned; made: date,
    command, version and revision, `compress.pipeline.provenance`. next: the
    command to run next. verdict and exit_code follow from these.
    """

    name: str
    data: Record
    recipe: Record
    machine: Record
    rows: tuple[Record, ...]
    artifacts: tuple[Record, ...] = ()
    measurements: tuple[Record, ...] = ()
    comparisons: tuple[Record, ...] = ()
    predictions: tuple[Record, ...] = ()
    budget: Record
    curves: tuple[Record, ...] = ()
    quantisation: Record = field(default_factory=dict)
    pruning: Record = field(default_factory=dict)
    sparsity: Record = field(default_factory=dict)
    factorisation: Record = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    checks: tuple[Record, ...] = ()
    ship: tuple[Record, ...] = ()
    refused: tuple[Record, ...] = ()
    trained: bool = True
    made: Record = field(default_factory=dict)
    next: str = ""
    folder: Path

    @property
    def failures(self) -> tuple[str, ...]:
        """Files that do not answer like their network, a sentence each."""
        return tuple(
            text(check, "sentence")
            for check in self.checks
            if check.get("kept") is False and number(check, "exit_code") == Exit.PARITY
        )

    @property
    def violations(self) -> tuple[str, ...]:
        """Limits that are missed, a sentence each."""
        return sentences(self.budget, "violations")

    @property
    def exit_code(self) -> int:
        """The verdict: parity comes first, since nothing else counts without it."""
        if self.failures:
            return Exit.PARITY
        if self.refused:
            return Exit.REJECTED
        return Exit.BUDGET if self.violations else Exit.FIT

    @property
    def verdict(self) -> str:
        """The exit code in words."""
        match self.exit_code:
            case Exit.PARITY:
                return "parity failed: " + "; ".join(self.failures)
            case Exit.REJECTED:
                told = (f"{text(e, 'file')}: {text(e, 'reason')}" for e in self.refused)
                return "not all that was asked for can be written: " + "; ".join(told)
            case Exit.BUDGET:
                missed = [each for each in self.checks if each.get("kept") is False]
                ours = missed and all(each.get("default") is True for each in missed)
                word = "not fit to ship" if ours else "budget missed"
                return f"{word}: " + "; ".join(self.violations)
            case _ if not self.trained:
                return (
                    "the files compute what they were given, which was never trained; "
                    "give --weights or train it"
                )
            case _:
                limits = inner(self.budget, "limits")
                return "fit to ship" + ("" if limits else " (no budget was set)")

    def as_record(self) -> dict[str, object]:
        """The contract of report.json."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "verdict": self.verdict,
            "exit_code": int(self.exit_code),
            "ship": list(self.ship),
            "data": self.data,
            "recipe": self.recipe,
            "machine": self.machine,
            "rows": list(self.rows),
            "artifacts": list(self.artifacts),
            "measurements": list(self.measurements),
            "comparisons": list(self.comparisons),
            "predictions": list(self.predictions),
            "budget": self.budget,
            "checks": list(self.checks),
            "refused": list(self.refused),
            "trained": self.trained,
            "made": self.made,
            "curves": list(self.curves),
            "quantisation": self.quantisation,
            "pruning": self.pruning,
            "sparsity": self.sparsity,
            "factorisation": self.factorisation,
            "advice": list(self.advice),
            "doubts": list(self.doubts),
            "next": self.next,
            "folder": str(self.folder),
        }

    def as_json(self) -> str:
        """Exactly what report.json holds; a list of numbers takes one line."""
        lines = json.dumps(self.as_record(), indent=2, allow_nan=False)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", lines)

    def as_text(self) -> str:
        """The table a run ends with, at most 80 columns wide."""
        from compress.report.printed import printed

        return printed(shown_as(self, printable))

    def as_markdown(self) -> str:
        """The same as a page for a repository or a pull request."""
        from compress.report.printed import markdown

        return markdown(shown_as(self, in_markdown))

    def as_html(self) -> str:
        """A page that needs nothing else; raises if jinja2 is missing."""
        from compress.report.page import page

        return page(shown_as(self, printable))

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write every form into `folder`; give a sentence for what is left out."""
        told = self.write_forms(folder)
        write_text(folder / REPORT, self.content(folder))
        return told

    def content(self, folder: Path) -> str:
        """What report.json holds in `folder`."""
        return replace(self, folder=folder).as_json() + "\n"

    def write_forms(self, folder: Path) -> tuple[str, ...]:
        """Write all but report.json; give a sentence for what is left out."""
        from importlib.util import find_spec

        from compress.report import charts

        here = replace(self, folder=folder)
        write_text(folder / PLAIN, here.as_markdown())
        if find_spec("jinja2") is None:
            skipped = (
                "report.html: skipped, because jinja2 is not installed; "
                f"run: {pip_line('report')}"
            )
            return (skipped,)
        write_text(folder / PAGE, here.as_html())
        if not charts.available():
            plain = (
                "report.html: has no charts, because matplotlib is not installed; "
                f"run: {pip_line('report')}"
            )
            return (plain,)
        return ()

    @classmethod
    def read(cls, folder: Path) -> "Report":
        """Read the report of a run directory.

        A folder without one is a RecipeError, a report that breaks the contract an
        InputRejectedError.
        """
        path = folder / REPORT if folder.is_dir() else folder
        if not path.is_file() or path.name != REPORT:
            raise RecipeError(
                f"{folder}: no run is there (no {REPORT}); give the folder that a run "
                "wrote, or finish it by giving its command again"
            )
        record = read_json(path)
        source = str(path)
        if record.get("schema") != SCHEMA:
            raise InputRejectedError(
                f"{path}: schema is {record.get('schema')!r}, this edgepress reads "
                f"{SCHEMA}; update edgepress, or run the recipe again"
            )
        name = record.get("name")
        if not isinstance(name, str):
            raise InputRejectedError(f"{path}: name is {name!r:.60}, not a text")
        return cls(
            name=name,
            data=checked_record(record, "data", source=source),
            recipe=checked_record(record, "recipe", source=source),
            machine=checked_record(record, "machine", source=source),
            rows=checked_records(record, "rows", source=source),
            artifacts=checked_records(record, "artifacts", source=source),
            measurements=checked_records(record, "measurements", source=source),
            comparisons=checked_records(record, "comparisons", source=source),
            predictions=checked_records(record, "predictions", source=source),
            budget=checked_record(record, "budget", source=source),
            curves=checked_records(record, "curves", source=source),
            checks=_checks(record, source=source),
            ship=checked_records(record, "ship", source=source),
            refused=checked_records(record, "refused", source=source),
            trained=record.get("trained") is not False,
            made=inner(record, "made"),
            quantisation=inner(record, "quantisation"),
            pruning=inner(record, "pruning"),
            sparsity=inner(record, "sparsity"),
            factorisation=inner(record, "factorisation"),
            advice=sentences(record, "advice"),
            doubts=sentences(record, "doubts"),
            next=text(record, "next"),
            folder=path.parent,
        )


def _checks(record: Record, *, source: str) -> tuple[Record, ...]:
    """The limits that a verdict is made of; without them there is none."""
    if "checks" not in record:
        raise InputRejectedError(
            f"{source}: an older edgepress wrote it, whose verdict was not of every "
            "file; run the recipe again in another folder"
        )
    return checked_records(record, "checks", source=source)
