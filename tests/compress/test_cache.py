"""What runs share: listed, checked, cleared, and used by more than one user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compress.cli.main import main
from compress.context.console import Console
from compress.data.data import Images
from compress.data.dataset import find
from compress.data.spec import DataSpec
from runtime.errors import Exit
from runtime.files import write_json
from runtime.preprocess import Preprocess

ROOT = Path(__file__).parents[2]
SHAPE = Preprocess(size=16, resize=16)
NOBODY = 65534
# A process that works with an entry, says so and waits.
HOLDER = """
import sys, time
from pathlib import Path
from compress.context.cache import hold
kept = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, draw_folder: Callable[..., Path]
) -> Path:
    """The cache that a distillation fills, and a table of latencies."""
    place = tmp_path_factory.mktemp("filled")
    data = draw_folder(place / "data", images=4)
    words = ["distill", "--teacher", "lenet5", "--teacher-epochs", "1"]
    words += ["--student", "lenet5", "--epochs", "1", "--views", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(place / "cache"))
        out = ["--data", str(data), "--out", str(place / "run"), "-q"]
        # Whether a fresh network learns enough in an epoch is not the point here.
        assert main([*words, *out]) in {Exit.FIT, Exit.BUDGET}
    write_json(place / "cache/latencies/table.json", {"ms": 1.25}, sealed=True)
    return place / "cache"


@pytest.fixture
def cache(filled: Path, own_cache: Path) -> Path:
    """A copy of it, the pixels used last."""
    shutil.copytree(filled, own_cache)
    for age, kind in enumerate(("pixels", "answers", "teachers", "latencies")):
        for entry in (own_cache / kind).iterdir():
            os.utime(entry, (1e9 - 1000 * age,) * 2)
    return own_cache


def answer(
    capsys: pytest.CaptureFixture[str], *words: str, code: Exit = Exit.FIT
) -> dict[str, object]:
    """What a command answers as JSON."""
    capsys.readouterr()
    assert main(["cache", *words, "--json"]) == code
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def listed(found: dict[str, object], *keys: str) -> list[tuple[object, ...]]:
    """Some facts of each entry."""
    entries = found["entries"]
    assert isinstance(entries, list)
    return [tuple(entry[key] for key in keys) for entry in entries]


def size_of(folder: Path) -> int:
    """As `du --apparent-size` would count, without folders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_entries_are_listed_by_their_last_use(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "ls")
    kinds = [kind for (kind,) in listed(found, "kind")]
    assert kinds == ["latencies", "teachers", "answers", "pixels", "pixels"]
    assert found["size_bytes"] == size_of(cache)
    assert not any(used for (used,) in listed(found, "in_use"))
    assert main(["cache", "ls"]) == Exit.FIT
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert max(map(len, lines[:-1])) <= 80


@pytest.mark.usefixtures("cache")
def test_a_run_counts_as_a_use(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "--model", str(filled.parent / "run/01-distill")]
    assert main([*words, "--data", str(filled.parent / "data"), "-q"]) == Exit.FIT
    *_, before, last = listed(answer(capsys, "ls"), "kind", "idle_seconds")
    assert last[0] == before[0] == "pixels"
    assert float(str(last[1])) < 3600 < float(str(before[1]))


def test_what_was_altered_is_found(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of pixels, weights and answers each, or a digit where it is text."""
    assert listed(answer(capsys, "verify"), "kind") == []
    for pattern in ("*/*/pixels.u8", "*/*/*.safetensors", "*/*/*.f16", "*/table.json"):
        for victim in cache.glob(pattern):
            content = bytearray(victim.read_bytes())
            at = (
                content.find(b"1.25") if victim.suffix == ".json" else len(content) // 2
            )
            content[at] ^= 1
            victim.write_bytes(content)

    found = answer(capsys, "verify", code=Exit.REJECTED)

    kinds = [kind for (kind,) in listed(found, "kind")]
    assert kinds == ["pixels", "pixels", "teachers", "answers", "latencies"]
    assert (found["verified"], found["damaged"]) == (5, 5)
    faults = " ".join(str(fault) for (fault,) in listed(found, "fault"))
    assert faults.count("1 of ") == 2
    assert "model.safetensors was changed" in faults
    assert "view-000.f16 was changed" in faults


def test_what_was_unused_the_longest_goes_first(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    most = size_of(cache / "pixels") + size_of(cache / "answers") + 1
    draft = cache / "pixels/.entry.0123456789abcdef.part"
    draft.mkdir()
    (draft / "pixels.u8").write_bytes(b"half")
    expected = size_of(cache) - most + 1

    found = answer(capsys, "gc", "--max-size", str(most))

    assert [kind for (kind,) in listed(found, "kind")] == ["latencies", "teachers"]
    assert found["freed_bytes"] == expected
    assert found["size_bytes"] == size_of(cache) == most - 1
    assert not list(cache.rglob("*.part"))
    assert listed(answer(capsys, "gc"), "kind") == []


def test_what_a_living_process_holds_stays(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (teacher,) = (cache / "teachers").iterdir()
    command = [sys.executable, "-c", HOLDER, str(teacher)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert (True,) in listed(answer(capsys, "ls"), "in_use")
            found = answer(capsys, "gc", "--max-size", "0")
        finally:
            process.kill()
    stayed = [row for row in listed(found, "kind", "fault") if row[1]]
    assert stayed == [("teachers", "in use")]
    assert found["size_bytes"] == size_of(cache) == size_of(teacher) > 0
    assert answer(capsys, "gc", "--max-size", "0")["size_bytes"] == 0
    assert not list(cache.rglob("*.json"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gc", "--max-size", "much"], "a size such as 5GB"),
        (["ls", "--max-size", "5GB"], "is for gc"),
        (["tidy"], "invalid choice: 'tidy'"),
        ([], "action"),
    ],
)
def test_a_slip_is_told(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", *words]) == Exit.USAGE
    assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("own_cache")
def test_an_empty_cache_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("ls", "verify", "gc"):
        assert listed(answer(capsys, action), "kind") == []


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def opened(data: Path, cache: Path) -> Images:
    """The images of a folder, decoded in `cache` or wherever they may be."""
    found = find(DataSpec(source=str(data)), seed=0, console=Console(), cache=cache)
    images = found.open(SHAPE, train=False).val
    assert images is not None
    images.read(images.labels * 0)
    return images


def as_another(user_folder: Path, cache: Path, work: Callable[[], object]) -> bool:
    """Whether `work` succeeds in a process that may only read `cache`."""
    user_folder.mkdir(exist_ok=True)
    root = os.geteuid() == 0
    if root:
        os.chown(user_folder, NOBODY, NOBODY)
    folders = [path for path in [cache, *cache.rglob("*")] if path.is_dir()]
    modes = {folder: folder.stat().st_mode for folder in folders}
    if not root:
        for folder in folders:
            folder.chmod(0o555)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 has doubts about forks
        child = os.fork()
    if child == 0:
        try:
            if root:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    for folder, mode in modes.items():
        folder.chmod(mode)
    return status == 0


def test_two_users_share_a_cache_that_one_of_them_may_only_read(
    public: Path, draw_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is used; what is not, or is damaged, is made in one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(public / "theirs"))
    cache = public / "cache"
    data, other = draw_folder(public / "data"), draw_folder(public / "other", images=6)
    opened(data, cache / "x")  # so that everything is imported
    opened(data, cache)
    theirs = public / "theirs/edgepress/pixels"

    assert as_another(public / "theirs", cache, lambda: opened(data, cache))
    assert not theirs.exists()
    assert as_another(public / "theirs", cache, lambda: opened(other, cache))
    assert len(list(theirs.iterdir())) == 1
    (sidecar,) = (cache / "pixels").glob("*/pixels.json")
    sidecar.write_text("{}")
    assert as_another(public / "theirs", cache, lambda: opened(data, cache))
    assert len(list(theirs.iterdir())) == 2
    assert sidecar.read_text() == "{}"


def test_a_cache_that_is_open_to_all_is_filled_by_all(
    public: Path, draw_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of kinds are as open as the cache is, like /tmp."""
    if os.geteuid() != 0:
        pytest.skip("takes another user, and so root")
    monkeypatch.setenv("XDG_CACHE_HOME", str(public / "theirs"))
    cache = public / "cache"
    cache.mkdir()
    cache.chmod(0o1777)
    data, other = draw_folder(public / "data"), draw_folder(public / "other", images=6)
    opened(data, cache)

    assert as_another(public / "theirs", cache, lambda: opened(other, cache))
    assert len(list((cache / "pixels").iterdir())) == 2
    assert not (public / "theirs/edgepress").exists()
    opened(other, cache)
    assert not (public / "theirs/edgepress").exists()
