"""The revision of a folder, with Git itself as the oracle."""

import subprocess
from pathlib import Path

import pytest

from compress.pipeline.provenance import revision_of


def git(folder: Path, *words: str) -> str:
    """What Git says, as somebody whose settings are none."""
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", *who, *words],
        cwd=folder,
        env=alone | {"PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_is_gits(tmp_path: Path, *, packed: bool) -> None:
    """From a folder below the checkout, and from a worktree beside it."""
    git(tmp_path, "init", "--quiet", "main")
    main = tmp_path / "main"
    git(main, "commit", "--quiet", "--allow-empty", "--message", "one")
    git(main, "worktree", "add", "--quiet", str(tmp_path / "beside"))
    if packed:
        git(main, "pack-refs", "--all")
    (main / "inside").mkdir()

    assert revision_of(main / "inside") == git(main, "rev-parse", "HEAD")
    assert revision_of(tmp_path / "beside") == git(main, "rev-parse", "HEAD")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"gitdir: nowhere", b""])
def test_a_folder_that_is_no_checkout_has_none(tmp_path: Path, content: bytes) -> None:
    """A report is not worth losing for it."""
    (tmp_path / ".git").write_bytes(content)

    assert revision_of(tmp_path) is None
