"""Targets as a table of 80 columns, as a page of one of them, and as plain data."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from runtime.target import ALIASES, LOCAL, Target

_COLUMNS: Final = 80
_WIDTHS: Final = (15, 16, 10, 13, 9)


def record_of(target: Target) -> dict[str, object]:
    """Everything that is known of a target."""
    return {
        "name": target.name,
        "aliases": _aliases(target),
        "fits": target.fits,
        "format": target.format,
        "dtype": target.dtype,
        "layout": None if target.layout is None else target.layout.name,
        "runtime": target.runtime,
        "threads": target.threads,
        "cpu_features": list(target.cpu_features),
        "traps": [asdict(trap) for trap in target.traps],
    }


def table(targets: Sequence[Target]) -> str:
    """A row for each target."""
    heads = ("target", "file", "layout", "runtime", "threads", "CPU with")
    rows = [
        (
            each.name,
            f"{each.format} {each.dtype}",
            "-" if each.layout is None else each.layout.name,
            each.runtime,
            str(each.threads),
            ", ".join(each.cpu_features[:1]) or "-",
        )
        for each in targets
    ]
    old = ", ".join(f"{short} = {name}" for short, name in ALIASES.items())
    notes = (
        f"Other names: {old}. `--target {targets[-1].name}` lays files out for a "
        "device; `compress targets NAME` says what goes wrong there."
    )
    lines = [_row(heads), *map(_row, rows), "", *_wrapped(notes)]
    return "\n".join(lines)


def described(target: Target) -> str:
    """One target, and its traps with where each is known from."""
    names = [target.name, *_aliases(target)]
    layout = "" if target.layout is None else f", laid out as {target.layout.name}"
    file = f"{target.format} {target.dtype}{layout}"
    if target.name == LOCAL:
        file += "; INT8 as suits this machine"
    threads = f"{target.threads} thread{'s' if target.threads > 1 else ''}"
    facts = {
        "target": ", ".join(names),
        "fits": target.fits,
        "file": file,
        "runs by": f"{target.runtime}, {threads}",
        "CPU with": " or ".join(target.cpu_features) or "no matter what",
    }
    lines = [f"{key:<10}{value}" for key, value in facts.items()]
    for trap in target.traps:
        lines += ["", *_wrapped(trap.text), *_wrapped(f"({trap.source})", indent="  ")]
    return "\n".join(lines)


def _wrapped(text: str, *, indent: str = "") -> list[str]:
    """Lines of a terminal; names with hyphens stay whole."""
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _aliases(target: Target) -> list[str]:
    """Its other names."""
    return [short for short, name in ALIASES.items() if name == target.name]


def _row(cells: Sequence[str]) -> str:
    """Cells in columns; the last one is as long as it is."""
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "".join((*padded, cells[-1]))
