"""Names from elsewhere stand in every form of a report, and do nothing there."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import report_example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from compress.report.report import Report
from compress.report.shown import in_markdown
from runtime.errors import InputRejectedError
from runtime.printable import printable

EVIL = "\x1b[31m|`a`[x](http://e.vil)<img src=x>\n# *b* \u202ewww.e.vil $\\&lt;"
# What Markdown makes of marks; `strong` is ours.
ACTIVE = {"link_open", "image", "html_inline", "html_block", "code_inline", "em_open"}
Place = tuple[str | int, ...]


def places(found: object, here: Place = ()) -> Iterator[Place]:
    """Where there is a value in a record, however deep."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from places(value, (*here, key))
    elif isinstance(found, list):
        for index, value in enumerate(found[:3]):
            yield from places(value, (*here, index))
    if here:
        yield here


def changed(record: object, place: Place, value: object) -> object:
    """`record` with `value` in one place."""
    if not place:
        return value
    first, *rest = place
    inner = changed(record[first], tuple(rest), value)  # type: ignore[index]
    if isinstance(record, list):
        return [*record[:first], inner, *record[first + 1 :]]  # type: ignore[misc,operator]
    return {**record, first: inner}  # type: ignore[dict-item]


def read(record: object, folder: Path) -> Report:
    """The report that report.json holds."""
    (folder / "report.json").write_text(json.dumps(record), encoding="utf-8")
    return Report.read(folder)


@pytest.fixture
def infected(tmp_path: Path) -> Report:
    """A report in which everything that somebody named does its worst."""
    record = json.loads(report_example.example(Path("runs")).as_json())
    for place in list(places(record)):
        value = record
        for part in place:
            value = value[part]
        if place[-1] in {"name", "path", "model", "runtime", "device", "next"}:
            record = changed(record, place, f"{value}{EVIL}")
    record["advice"] = [EVIL]
    record["machine"] = {EVIL: EVIL, "model": EVIL}
    return read(record, tmp_path)


def test_a_terminal_is_not_steered(infected: Report) -> None:
    text = infected.as_text()

    assert all(line.isprintable() for line in text.split("\n"))
    assert "\n#" not in text
    assert printable(EVIL)[:20] in text


def test_markdown_shows_names_as_they_are(infected: Report) -> None:
    """By another parser: no link, picture, element, code or emphasis comes of them."""
    parser = MarkdownIt("commonmark").enable("table")
    found = [
        part
        for token in parser.parse(infected.as_markdown())
        for part in (token, *(token.children or ()))
    ]

    assert ACTIVE.isdisjoint(part.type for part in found)
    headings = [part for part in found if part.type == "heading_open"]
    plain = parser.parse(report_example.example(Path("runs")).as_markdown())
    assert len(headings) == sum(part.type == "heading_open" for part in plain)
    cells = [part for part in found if part.type == "td_open"]
    assert len(cells) == sum(part.type == "td_open" for part in plain)
    texts = ["".join(c.content for c in p.children or ()) for p in found]
    assert any(printable(EVIL) in text for text in texts)


def test_the_page_shows_names_as_they_are(infected: Report) -> None:
    page = infected.as_html()

    assert "<img" not in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert "&lt;img src=x&gt;" in page


@given(st.text())
def test_markdown_gives_back_any_text(text: str) -> None:
    """What its parser shows is what was written, but for what steers."""
    (paragraph,) = MarkdownIt("commonmark").parseInline("x " + in_markdown(text) + " x")

    shown = "".join(child.content for child in paragraph.children or ())
    assert shown.split() == f"x {printable(text)} x".split()


junk = st.sampled_from(
    [None, True, 0, -1, 10**18, 1.5, -1e300, "", "a", [], [None], [[]], {}, {"a": None}]
)


@given(st.randoms(use_true_random=False), junk)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_is_a_sentence_or_is_shown(
    tmp_path: Path, chance: random.Random, value: object
) -> None:
    """A report is a file like any other: somebody may have changed it."""
    record = json.loads(report_example.example(Path("runs")).as_json())
    place = chance.choice(list(places(record)))
    try:
        report = read(changed(record, place, value), tmp_path)
    except InputRejectedError:
        return

    assert report.as_text()
    assert report.as_markdown()
