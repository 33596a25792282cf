"""What lies below a folder: links are followed, loops and system folders are not."""

import os
from pathlib import Path
from typing import Final

from runtime.errors import RecipeError

# Files there are made up as they are read, and some links there lead back to `/`.
_SYSTEM: Final = (Path("/proc"), Path("/sys"))


def hidden(name: str) -> bool:
    """Whether `name` belongs to an editor or an operating system, not to the data."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def below(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files and folders, posix names relative to `root`, sorted, hidden ones left out.

    A folder that several ways lead to is listed once, by its own name rather than by
    a link; a link to a folder that `root` is in is left out.
    """
    if not os.access(root, os.R_OK | os.X_OK):
        raise RecipeError(f"{root}: may not be read; check its permissions")
    home = Path(os.path.realpath(root))
    if _of_the_system(home):
        raise RecipeError(
            f"{root}: belongs to the operating system and holds no images; name a "
            "folder of images"
        )
    files: list[str] = []
    folders: list[str] = []
    seen: set[str] = set()
    starts = [root]
    while starts:
        start = starts.pop(0)
        links: list[Path] = []
        for here, names, there in os.walk(start):
            real = os.path.realpath(here)
            if real in seen:
                names.clear()
                continue
            seen.add(real)
            at = Path(here).relative_to(root).as_posix()
            prefix = "" if at == "." else f"{at}/"
            names[:] = [
                name
                for name in sorted(names)
                if not hidden(name) and not _leads_back(Path(here, name), home)
            ]
            links += [
                Path(here, name) for name in names if Path(here, name).is_symlink()
            ]
            folders.extend(prefix + name for name in names)
            files.extend(prefix + name for name in there if not hidden(name))
        starts += [link for link in links if not _of_the_system(link.resolve())]
    return tuple(sorted(files)), tuple(sorted(folders))


def _leads_back(path: Path, home: Path) -> bool:
    """Whether `path` is a link to a folder that `home` is in, or to `home` itself."""
    return path.is_symlink() and home.is_relative_to(os.path.realpath(path))


def _of_the_system(real: Path) -> bool:
    """Whether the kernel makes up what is there."""
    return any(real.is_relative_to(system) for system in _SYSTEM)
