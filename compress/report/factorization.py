"""Which layers became products of thinner ones, and which did not, in sentences."""

from collections.abc import Iterator

from compress.report import units
from compress.report.columns import cut
from compress.report.int8_tables import LETTERS, listed
from compress.report.records import Record, each, number, numbers, text
from compress.report.report import Report


def notes(report: Report) -> Iterator[tuple[str, str]]:
    """A word and a sentence each; nothing where no stage split layers."""
    layers = each(report.factorisation, "layers")
    split = [layer for layer in layers if numbers(layer, "ranks")]
    if layers:
        yield (
            "ranks",
            f"{len(split)} of {len(layers)} layers are products of thinner ones"
            + (f": {listed([_told(layer) for layer in split])}" if split else ""),
        )
    refused = [layer for layer in layers if text(layer, "reason")]
    if refused:
        reasons = [
            f"{cut(text(layer, 'name'), LETTERS)} ({text(layer, 'reason')})"
            for layer in refused
        ]
        yield "ranks", f"left whole: {listed(reasons)}"


def _told(layer: Record) -> str:
    """A layer, its ranks, and what they save."""
    ranks = " and ".join(f"{rank:.0f}" for rank in numbers(layer, "ranks"))
    before, after = number(layer, "ms_before"), number(layer, "ms_after")
    told = f"{cut(text(layer, 'name'), LETTERS)} (rank {ranks}"
    if before is not None and after is not None:
        told += f", {units.milliseconds(before)} to {units.milliseconds(after)}"
    return f"{told})"
