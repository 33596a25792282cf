"""A finished run: its report written last, its files held against its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from compress.context.console import Console
from compress.context.context import is_main_process
from compress.data.listing import named
from compress.models.checkpoint import RECORD
from compress.pipeline.run_directory import MANIFEST, REPORT, write_manifest
from compress.report.records import each, text
from compress.report.report import PAGE, PLAIN, Report
from runtime.errors import InputRejectedError
from runtime.files import read_json, sha256_of, write_text

# Forms of the report, which report.json is enough to write again.
_FORMS: Final = frozenset({PLAIN, PAGE})


class Differences(NamedTuple):
    """What is no longer as a finished run left it: paths below its folder."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]


def conclude(report: Report, folder: Path) -> tuple[str, ...]:
    """Write the report of a run whose files are there: report.json vouches, so last.

    Gives a sentence for each form that is left out.
    """
    told = report.write_forms(folder)
    content = report.content(folder)
    write_manifest(folder, {REPORT: content})
    write_text(folder / REPORT, content)
    return told


def settled(folder: Path, console: Console) -> Report | None:
    """The report of a complete run; None if files are gone that must be made again.

    Forms of the report that are gone are written again, what was changed is an
    InputRejectedError, and what else is missing makes the run an unfinished one.
    """
    report, found = unchanged(folder)
    forms = _FORMS - {path.name for path in folder.iterdir()}
    gone = [path for path in found.missing if path not in _FORMS]
    if not is_main_process():  # the first process writes
        return None if gone else report
    if gone:
        console.tell(f"{folder}: {_are(gone)} gone; made again")
        (folder / REPORT).unlink()
        for path in gone:
            # A stage without one of its files is as good as none.
            (folder / Path(path).parts[0] / RECORD).unlink(missing_ok=True)
        return None
    if forms & set(found.missing) or not (folder / MANIFEST).is_file():
        for sentence in report.write_forms(folder):
            console.tell(sentence)
        write_manifest(folder)
    console.tell(f"{folder}: this run is complete; here is its report")
    return report


def unchanged(run: Path) -> tuple[Report, Differences]:
    """The report of a run, and what is missing of what it tells of.

    A file that is there and is not what the run wrote is an InputRejectedError.
    """
    report = Report.read(run)
    found = differences(report)
    if found.changed:
        raise InputRejectedError(
            f"{report.folder}: {_are(found.changed)} not what the run wrote; remove "
            "what was changed and give the run's command again, which makes it anew"
        )
    return report, found


def shown(run: Path, console: Console) -> Report:
    """The report of a run, nothing of which was changed; what is missing is told."""
    report, found = unchanged(run)
    if gone := [path for path in found.missing if path not in _FORMS]:
        console.tell(
            f"{report.folder}: {_are(gone)} no longer there; the report tells what "
            "was measured when the run ended"
        )
    return report


def whole(run: Path) -> Report:
    """The report of a run all of whose files are as it left them."""
    report, found = unchanged(run)
    if gone := [path for path in found.missing if path not in _FORMS]:
        raise InputRejectedError(
            f"{report.folder}: {_are(gone)} no longer there; give the run's command "
            "again, which makes it anew"
        )
    return report


def differences(report: Report) -> Differences:
    """Hold the files of a run against its manifest; without one, its model files."""
    folder = report.folder
    changed, missing = [], []
    for path, sha256 in _listed(report).items():
        file = folder / path
        if not file.is_file():
            missing.append(path)
        elif sha256_of(file) != sha256:
            changed.append(path)
    return Differences(tuple(changed), tuple(missing))


def _listed(report: Report) -> Mapping[str, str]:
    """The digests of a run's files, by path; paths that lead elsewhere are not read."""
    manifest = report.folder / MANIFEST
    if manifest.is_file():
        entries = each(read_json(manifest), "files")
    else:
        entries = report.artifacts
    listed = {text(entry, "path"): text(entry, "sha256") for entry in entries}
    for path in listed:
        if Path(path).is_absolute() or ".." in Path(path).parts or not path:
            raise InputRejectedError(
                f"{report.folder}: lists the file {path!r}, which is not below it; "
                "the run did not write that"
            )
    return listed


def _are(paths: tuple[str, ...] | list[str]) -> str:
    """`'a' is`, `'a', 'b' are`."""
    return f"{named(paths)} {'is' if len(paths) == 1 else 'are'}"
