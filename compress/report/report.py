"""The report of a run in its four forms: JSON, text, Markdown, and a page."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from compress.report import charts
from compress.report.page import page
from compress.report.printed import markdown, printed
from compress.report.record import REPORT, RunRecord
from compress.report.shown import in_markdown, shown_as
from runtime.files import write_text
from runtime.printable import printable
from runtime.requirements import pip_line

# The two forms of the report for people.
PLAIN: Final = "report.md"
PAGE: Final = "report.html"


class Report(RunRecord):
    """What a run found, as it is written down and shown."""

    def as_text(self) -> str:
        """The table a run ends with, at most 80 columns wide."""
        return printed(shown_as(self, printable))

    def as_markdown(self) -> str:
        """The same as a page for a repository or a pull request."""
        return markdown(shown_as(self, in_markdown))

    def as_html(self) -> str:
        """A page that needs nothing else; raises if jinja2 is missing."""
        return page(shown_as(self, printable))

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write every form into `folder`; give a sentence for what is left out."""
        told = self.write_forms(folder)
        write_text(folder / REPORT, self.content(folder))
        return told

    def write_forms(self, folder: Path) -> tuple[str, ...]:
        """Write all but report.json; give a sentence for what is left out."""
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
