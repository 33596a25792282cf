"""Files are whole or not there, whoever writes beside whom and whoever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.drafts import sweep
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import read_json, write_json, write_text, written_whole

ROOT = Path(__file__).parents[2]
# A process that has half a draft, says so and waits.
HALF = """
import sys, time
from pathlib import Path
from runtime.files import written_whole
with written_whole(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    print("half", flush=True)
    time.sleep(600)
"""


def half_written(path: Path) -> "subprocess.Popen[str]":
    """Start a process that is in the middle of writing `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def test_two_writers_of_one_process_id_do_not_meet(tmp_path: Path) -> None:
    """Two containers that share a cache may both be process 7."""
    path = tmp_path / "shared.txt"
    with written_whole(path) as one:
        one.write_text("one")
        with written_whole(path) as other:
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["shared.txt"]


def test_drafts_of_the_killed_are_swept_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    with half_written(tmp_path / "a" / "killed") as killed:
        killed.send_signal(signal.SIGKILL)
    (tmp_path / ".old.4194305.part").write_text("as an older edgepress left it")
    (tmp_path / ".mine.part").write_text("of another program")
    with half_written(tmp_path / "a" / "living") as living:
        try:
            freed = sweep(tmp_path)
            (left,) = (tmp_path / "a").iterdir()
            assert left.name.startswith(".living.")
            assert (left / "living").read_text() == "half"
        finally:
            living.kill()
    assert freed == len("half") + len("as an older edgepress left it")
    assert (tmp_path / ".mine.part").exists()
    sweep(tmp_path)
    assert not list((tmp_path / "a").iterdir())


def test_what_a_library_leaves_beside_its_draft_goes_with_it(tmp_path: Path) -> None:
    """Safetensors 0.8 writes a temporary file of its own next to the one it makes."""
    with written_whole(tmp_path / "whole") as draft:
        draft.write_text("whole")
        draft.with_name(".tmpXyZ").write_text("left over")
    assert [each.name for each in tmp_path.iterdir()] == ["whole"]


def test_who_may_read_a_file_is_the_users_umask(tmp_path: Path) -> None:
    """A library that makes files private would lock others out of a shared cache."""
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "shared") as draft:
            draft.touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640


def test_a_disk_that_refuses_is_told_and_keeps_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "kept", "before")

    def full() -> None:
        with written_whole(tmp_path / "kept") as draft:
            draft.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(RecipeError, match=r"kept: cannot be written: No space left"):
        full()
    assert (tmp_path / "kept").read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


RECORD = {"std": [0.229, 1e-9], "names": ["ä", "b"], "deep": {"7": None, "10": True}}


def test_a_sealed_record_comes_back_without_its_seal(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD | {"numbered": {10: "x", 9: "y"}}, sealed=True)
    assert read_json(path, sealed=True) == RECORD | {"numbered": {"10": "x", "9": "y"}}


@pytest.mark.parametrize(
    ("old", "new"), [("0.229", "0.228"), ('"b"', '"c"'), ("null", "0"), ("  ", "\t")]
)
def test_a_sealed_record_tells_of_every_change_of_what_it_says(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD, sealed=True)
    path.write_text(path.read_text().replace(old, new, 1))
    if new.isspace():  # the same record, set otherwise
        assert read_json(path) == RECORD
        return
    with pytest.raises(InputRejectedError, match=r"record\.json: was changed since"):
        read_json(path)


def test_a_record_without_a_seal_is_read_unless_one_is_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    assert read_json(path) == RECORD
    with pytest.raises(InputRejectedError, match="has no record_sha256"):
        read_json(path, sealed=True)
