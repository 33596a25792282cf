"""What every exporter asks of a file's path, and says of what made it."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtime.artifact import SUFFIXES, Format
from runtime.errors import RecipeError


def check_path(path: Path, format_: Format) -> None:
    """Refuse a name that nothing would read again as `format_`: a RecipeError."""
    if path.suffix != SUFFIXES[format_]:
        raise RecipeError(f"export: {path}: the name must end in {SUFFIXES[format_]}")
    if path.is_dir():
        raise RecipeError(f"export: {path}: is a folder; choose another name")


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Versions of what makes a file; `unknown` of what is not installed."""
    return {package: installed(package) for package in packages}


def installed(package: str) -> str:
    """Look up an installed version; a bare checkout of ours has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
