"""What runs share: list it, hold it against its digests, make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compress.cli.arguments import byte_count
from runtime.errors import Exit, RecipeError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from compress.context.console import Console
    from compress.pipeline.cache_listing import Entry, Found, Verdict


EXAMPLES: Final = ("compress cache ls", "compress cache gc --max-size 5GB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: what to do, and how much may stay."""
    parser.usage = "compress cache ls|verify|gc [--max-size 5GB] [options]"
    parser.add_argument(
        "action",
        choices=("ls", "verify", "gc"),
        help="ls: list entries, the longest unused first; verify: read all of them and "
        "name the damaged (exit code 3), which the next run makes again; gc: remove "
        "what killed runs left and, with --max-size, what was unused the longest, but "
        "nothing that a living process holds",
    )
    parser.add_argument(
        "--max-size",
        type=byte_count,
        metavar="SIZE",
        help="of gc: what the cache may take then, such as 5GB or 500MB",
    )


def execute(options: argparse.Namespace, console: Console) -> Found:
    """Look at the cache, which is EDGEPRESS_CACHE or ~/.cache/edgepress."""
    from compress.context.context import cache_folder

    if options.max_size is not None and options.action != "gc":
        raise RecipeError(f"--max-size: is for gc; leave it out with {options.action}")
    cache = cache_folder()
    if options.action == "ls":
        return _listed(cache)
    if options.action == "verify":
        return _verified(cache, console)
    return _cleared(cache, options.max_size)


def _listed(cache: Path) -> Found:
    """Every entry with its size and age."""
    from compress.pipeline.cache_listing import Found, entries
    from compress.report.units import size

    found = entries(cache)
    total = sum(each.size_bytes for each in found)
    return Found(
        cache=cache,
        rows=tuple((each, _line(each)) for each in found),
        facts={"size_bytes": total},
        closing=f"{size(total)} in {len(found)} entries of {cache}",
    )


def _verified(cache: Path, console: Console) -> Found:
    """Every entry, the damaged ones with what is wrong."""
    from compress.pipeline.cache_listing import Found, verified

    found = []
    for each in verified(cache):
        console.detail(f"cache: {each.kind}/{each.name}: {each.fault or 'sound'}")
        found.append(each)
    bad = [each for each in found if each.fault]
    return Found(
        cache=cache,
        rows=tuple((each, _told(each)) for each in found if each.fault),
        facts={"verified": len(found), "damaged": len(bad)},
        closing=f"{len(bad)} of {len(found)} entries of {cache} are damaged"
        + ("; they are made again when a run needs them" if bad else ""),
        exit_code=Exit.REJECTED if bad else Exit.FIT,
    )


def _cleared(cache: Path, max_bytes: int | None) -> Found:
    """What was removed, and what had to stay."""
    from compress.pipeline.cache_listing import Found, cleared, entries
    from compress.report.units import size

    freed, done = cleared(cache, max_bytes)
    left = sum(each.size_bytes for each in entries(cache))
    over = max_bytes is not None and left > max_bytes
    return Found(
        cache=cache,
        rows=tuple((each, _told(each)) for each in done),
        facts={"freed_bytes": freed, "size_bytes": left},
        closing=f"{size(freed)} freed, {size(left)} left in {cache}"
        + (", more than was asked for" if over else ""),
    )


def _line(entry: Entry) -> str:
    """Kind, size, age and name, at most 80 columns."""
    from compress.report.units import size

    held = "  in use" if entry.in_use else ""
    age = _age(entry.idle_seconds)
    return (
        f"{entry.kind:<10}{size(entry.size_bytes):>9}{age:>9}  {entry.name:.32}{held}"
    )


def _age(seconds: float) -> str:
    """In the largest unit of which there is one: 12 s, 5 min, 3 h, 40 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _told(verdict: Verdict) -> str:
    """An entry and what became of it."""
    return f"{verdict.kind}/{verdict.name:.32}: {verdict.fault or 'removed'}"
