"""A report as it may be shown: every text in it, wherever it comes from, spelled out.

Names of files, classes, tensors and runs come from elsewhere. Each of the report's
forms passes through here once, so nobody who writes a line of it has to think of it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

from compress.report.record import RunRecord
from runtime.printable import printable

Spelling = Callable[[str], str]
# What begins code, emphasis, a link, an element or an entity (CommonMark 0.31, 2.4);
# lines of tables take care of their bars. `_` between letters begins nothing.
_MARKS: Final = re.compile(r"[\\`*\[\]<>&~]|(?<![^\W_])_|_(?![^\W_])")
# What GitHub makes a link of by itself.
_LINKS: Final = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)")


def in_markdown(text: str) -> str:
    """`text` so that Markdown shows it as it is, and nothing in it is a link."""
    return _LINKS.sub(r"\\", _MARKS.sub(r"\\\g<0>", printable(text)))


def shown_as(report: RunRecord, spelled: Spelling) -> RunRecord:
    """The report with every text as `spelled` gives it."""
    changed = {
        field.name: _spelled(getattr(report, field.name), spelled)
        for field in fields(report)
    }
    return replace(report, **changed)  # type: ignore[arg-type]  # each as it was


def _spelled(found: object, spelled: Spelling) -> object:
    """Every text of plain data, keys included."""
    if isinstance(found, str):
        return spelled(found)
    if isinstance(found, Path):
        return Path(spelled(str(found)))
    if isinstance(found, Mapping):
        return {
            spelled(str(key)): _spelled(each, spelled) for key, each in found.items()
        }
    if isinstance(found, list | tuple):
        return type(found)(_spelled(each, spelled) for each in found)
    return found
