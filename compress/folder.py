"""A run directory: claimed by one recipe and one process, complete or resumable."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from compress.job import is_main_process
from compress.recipe import Recipe, read_recipe, written
from runtime.drafts import sweep
from runtime.errors import RecipeError
from runtime.files import check_name, sha256_of, write_json, write_text

RECIPE: Final = "recipe.yaml"
REPORT: Final = "report.json"
MANIFEST: Final = "manifest.json"
JOURNAL: Final = "events.jsonl"
LOCK: Final = ".lock"


def stage_folder(number: int, name: str) -> str:
    """What the folder of the `number`-th stage is called, the first being 1."""
    return f"{number:02d}-{name}"


@contextmanager
def claimed(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Hold `folder` for `recipe` while the block runs.

    A folder of the same recipe is taken up where it was left; anything else in it is
    a RecipeError, before a byte is written. Of the processes that `torchrun` started
    the first one claims the folder for all.
    """
    if not is_main_process():
        yield
        return
    check_name(folder)
    try:
        _check_contents(folder, recipe)
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RecipeError(
            f"--out {folder}: cannot be written: {error.strerror}; choose another --out"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecipeError(
                f"--out {folder}: another process is running in it; wait for it, or "
                "choose another --out"
            ) from error
        sweep(folder)  # nobody else writes here now
        try:
            if not (folder / RECIPE).is_file():
                write_text(folder / RECIPE, written(recipe))
            yield
        except BaseException:
            _give_up(folder, remove=made)
            raise
    finally:
        os.close(handle)


def _give_up(folder: Path, *, remove: bool) -> None:
    """Take back a claim under which nothing was made.

    A command that was wrong must not keep the corrected one out of its folder.
    """
    claim = {RECIPE, JOURNAL, LOCK}
    found = list(folder.rglob("*"))
    if any(path.is_file() and path.name not in claim for path in found):
        return
    with suppress(OSError):  # what led here is what the user must hear
        for path in sorted(found, reverse=True):  # what is inside comes first
            path.rmdir() if path.is_dir() else path.unlink()
        if remove:
            folder.rmdir()


def _check_contents(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"--out {folder}: is a file; choose another --out")
    try:
        there = folder.iterdir() if folder.is_dir() else ()
        names = sorted(path.name for path in there)
    except OSError as error:
        raise RecipeError(
            f"--out {folder}: cannot be read: {error.strerror}; choose another --out"
        ) from error
    if (folder / RECIPE).is_file():
        held = read_recipe(folder / RECIPE)
        if held.as_record() != recipe.as_record():
            raise RecipeError(
                f"--out {folder}: already holds another run ({held.name}); choose "
                "another --out, or remove it"
            )
    elif [name for name in names if name != LOCK and not name.endswith(".part")]:
        raise RecipeError(
            f"--out {folder}: is not empty and holds no run ({names[0]} …); choose "
            "another --out"
        )


def write_manifest(folder: Path, coming: Mapping[str, str] | None = None) -> None:
    """List every file of the run with its size and digest.

    `coming`: texts of files that are yet to be written, by name.
    """
    later = {name: text.encode("utf-8") for name, text in (coming or {}).items()}
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in {MANIFEST, LOCK, JOURNAL}
        and path.relative_to(folder).as_posix() not in later
        # Left by a process that was killed.
        and not any(part.endswith(".part") for part in path.relative_to(folder).parts)
    )
    entries = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in files
    ]
    entries += [
        {"path": name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in later.items()
    ]
    write_json(folder / MANIFEST, {"files": entries})
