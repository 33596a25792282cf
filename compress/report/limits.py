"""The verdict in a table: every limit, what was measured, and whether it is kept."""

from collections.abc import Iterator
from typing import Final

from compress.context.records import Record, number, text
from compress.report.columns import aligned, piped, rule
from compress.report.record import RunRecord
from compress.report.units import NOTHING
from runtime.checks import WRITTEN, Unit

# What a limit is called where there is little room.
_CALLED: Final = {
    "agreement": "same answers as its network",
    "sqnr_db": "SQNR against its network",
    "chance": "top-1 above chance",
    "int8_agreement": "float32's answers kept (low)",
    "int8_sqnr_db": "SQNR against float32",
    "int8_top1_drop": "top-1 lost in INT8 (high)",
    "top1_drop": "top-1 lost",
    "top1_min": "top-1",
    "size_bytes": "size",
    "latency_ms": "latency (p50)",
    "peak_rss_bytes": "peak memory",
    "predicted_ms": "latency (predicted)",
    "accuracy_drop": "accuracy lost in INT8",
    "flips": "answers changed in INT8",
}
_SIGNS: Final = {"at most": "≤", "at least": "≥", "more than": ">"}
_UNITS: Final[dict[str, Unit]] = {unit: unit for unit in WRITTEN}
_WORDS: Final[dict[object, str]] = {True: "yes", False: "NO", None: "not judged"}
_OURS: Final = " (default)"
HEADS: Final = ("file", "limit", "allowed", "measured", "kept")


def rows(report: RunRecord) -> Iterator[tuple[str, str, str, str, str]]:
    """One line a limit and file: `HEADS`."""
    for check in report.checks:
        limit = text(check, "limit")
        ours = _OURS if check.get("default") is True else ""
        yield (
            text(check, "file") or "the network",
            f"{_CALLED.get(limit, text(check, 'what'))}{ours}",
            f"{_SIGNS.get(text(check, 'bound'), '')} {_shown(check, 'allowed')}",
            _measured(check),
            _kept(check),
        )


def _kept(check: Record) -> str:
    """Whether a limit was kept, in a word."""
    kept = check.get("kept")
    return _WORDS[kept] if kept is None or isinstance(kept, bool) else NOTHING


def printed(report: RunRecord) -> Iterator[str]:
    """For a terminal: a file's name, and its limits below it."""
    found = list(rows(report))
    if not found:
        return
    lines = [(f"  {limit.replace(_OURS, ' *')}", *rest) for _, limit, *rest in found]
    heads, *rest = aligned([("* a default", *HEADS[2:]), *lines])
    yield from (heads, rule())
    previous = ""
    for check, (file, *_), line in zip(report.checks, found, rest, strict=True):
        if file != previous:
            yield file
        yield line
        if (sure := _sure(check)) and check.get("default") is not True:
            yield f"    {sure}"
        previous = file
    yield rule()


def _sure(check: Record) -> str:
    """The interval of what was measured, where there is one."""
    low, high = (_shown(check, key) for key in ("low", "high"))
    return "" if NOTHING in {low, high} else f"95 % sure of {low} to {high}"


def markdown(report: RunRecord) -> list[str]:
    """As a Markdown table; empty where nothing was held against anything."""
    found = list(rows(report))
    return [*piped(HEADS, found, names=2), ""] if found else []


def _measured(check: Record) -> str:
    """What was measured; an exact answer has no noise to speak of."""
    if number(check, "measured") is None and text(check, "unit") == "dB":
        return "exact"
    return _shown(check, "measured")


def _shown(check: Record, key: str) -> str:
    """A number of a check in its unit."""
    value, unit = number(check, key), _UNITS.get(text(check, "unit"))
    return NOTHING if value is None or unit is None else WRITTEN[unit](value)
