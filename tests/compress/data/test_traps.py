"""Data that would hang a reader or fill its memory ends in a sentence or is skipped."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from compress.cli.main import main
from compress.data import table
from compress.data.walk import below
from runtime.errors import Exit

pytestmark = pytest.mark.usefixtures("own_cache")

Draw = Callable[..., Path]
# Prints how much memory the process ever had, kB, as its last line on stderr: of this
# process alone, where getrusage begins with what its parent had.
PEAK = (
    "import atexit, re, sys\n"
    "atexit.register(lambda: print(re.search(r'VmHWM:\\s+(\\d+) kB', "
    "open('/proc/self/status').read())[1], file=sys.stderr))\n"
    "from compress.cli.main import entry\nentry()"
)


def evaluated(network: Path, data: str) -> subprocess.CompletedProcess[str]:
    """Run `compress eval` in a process of its own, which a trap may hold for ever."""
    words = ["eval", "--model", str(network), "--data", data]
    return subprocess.run(
        [sys.executable, "-c", PEAK, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_traps_among_images_are_skipped_with_a_reason_each(
    tmp_path: Path, draw_folder: Draw, network: Path
) -> None:
    """A pipe, devices, files without an end and one image of 88 megapixels."""
    data = draw_folder(tmp_path / "data/val", images=2)
    os.mkfifo(data / "a/pipe.png")
    for name, target in (
        ("zero", "/dev/zero"),
        ("tty", "/dev/tty"),
        ("memory", "/proc/self/mem"),
        ("pages", "/proc/kpageflags"),
        ("gone", "/no/such/file"),
        ("itself", "itself.png"),
    ):
        (data / f"b/{name}.png").symlink_to(target)
    Image.new("I;16", (9400, 9350), 60_000).save(data / "c/huge.png")
    (data / "d/loop").symlink_to(tmp_path, target_is_directory=True)
    (data / "d/kernel").symlink_to("/proc", target_is_directory=True)
    (data / "d/root").symlink_to("/", target_is_directory=True)

    done = evaluated(network, f"folder:{tmp_path}/data")

    *told, peak = done.stderr.splitlines()
    assert done.returncode == Exit.FIT, done.stderr
    assert "8 of 16 images cannot be used and were skipped: " in done.stderr
    assert "a/pipe.png (is a pipe, a device or a folder, not a file)" in done.stderr
    assert "8 images, 4 classes" in done.stdout
    assert int(peak) < 10**6, told


def test_images_just_allowed_are_decoded_within_a_gigabyte(
    tmp_path: Path, draw_folder: Draw, network: Path
) -> None:
    """60 megapixels with alpha, several at once: they wait for each other."""
    data = draw_folder(tmp_path / "data/val", images=1)
    huge = Image.new("RGBA", (7800, 7800), (200, 100, 50, 25))
    for kind in "ab":
        huge.save(data / f"{kind}/huge.png", compress_level=1)
    del huge

    done = evaluated(network, f"folder:{tmp_path}/data")

    *told, peak = done.stderr.splitlines()
    assert "6 images, 4 classes" in done.stdout, done.stderr
    assert int(peak) < 10**6, told


@pytest.mark.parametrize("kind", ["folder:", "csv:", ""])
@pytest.mark.parametrize("place", ["pipe.csv", "/dev/zero", "/proc"])
def test_a_place_that_is_none_is_told_at_once(
    kind: str,
    place: str,
    tmp_path: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    path = tmp_path / place  # an absolute place replaces what stands before it

    code = main(["eval", "--model", str(network), "--data", f"{kind}{path}"])

    assert code == Exit.USAGE
    assert capsys.readouterr().err.splitlines()[-1].startswith("compress: ")


@pytest.mark.parametrize("packed", [True, False])
def test_a_list_that_would_fill_the_memory_is_not_read(
    packed: bool,
    tmp_path: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A zip of 250 kB with 250 MB of lines in it, or a file that is as long."""
    long = b"0.png,a\n" * 2**20
    turns = 1 + table.LARGEST_BYTES // len(long)
    path = tmp_path / ("bomb.zip" if packed else "bomb.csv")
    if packed:
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
            bomb.open("labels.csv", "w") as member,
        ):
            for _ in range(turns):
                member.write(long)
    else:
        with path.open("wb") as stream:
            stream.truncate(turns * len(long))

    assert main(["eval", "--model", str(network), "--data", str(path)]) == (
        Exit.REJECTED
    )
    told = capsys.readouterr().err
    assert "MB is more than the 134 MB allowed" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("path,label\n" + "\n" * 2_000_001, "has 2000002 lines; allowed: 2000000"),
        ("path,label\n" + "," * 100_000, "line 2: is longer than 65536 characters"),
        ("a.png,x\n" + "a" * 70_000 + ".png,x\n", "line 2: is longer than 65536"),
    ],
)
def test_lines_of_a_list_are_counted_and_measured_before_they_are_read(
    content: str,
    told: str,
    tmp_path: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.csv").write_text(content)

    words = ["eval", "--model", str(network), "--data", f"csv:{tmp_path}/list.csv"]
    assert main(words) == Exit.REJECTED
    assert told in capsys.readouterr().err


def test_links_between_classes_give_every_image_to_its_own(
    tmp_path: Path, draw_folder: Draw
) -> None:
    """Two folders that link to each other: what is in one is not taken for the other's.

    And a class that is a link elsewhere is a class.
    """
    data = draw_folder(tmp_path / "data", classes="ab", images=2)
    elsewhere = draw_folder(tmp_path / "elsewhere", classes="c", images=1)
    (data / "a/b").symlink_to(data / "b")
    (data / "b/a").symlink_to(data / "a")
    (data / "0").symlink_to(elsewhere / "c")
    (data / "here").symlink_to(".")

    files, folders = below(data)

    assert files == ("0/0.png", "a/0.png", "a/1.png", "b/0.png", "b/1.png")
    assert folders == ("0", "a", "a/b", "b", "b/a")
