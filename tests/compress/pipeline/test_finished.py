"""A finished run, and what has become of its files since."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from compress.cli.main import main
from runtime.errors import Exit

MODEL = "artifacts/model-lenet5.onnx"
WEIGHTS = "01-finetune/model.safetensors"
RECORD = "01-finetune/model.json"


@dataclass(frozen=True)
class Run:
    """A run and the command that made it."""

    folder: Path
    words: tuple[str, ...]

    def again(self) -> int:
        """Give the same command once more."""
        return main([*self.words, "--out", str(self.folder), "-q"])

    def copy(self, place: Path) -> "Run":
        """The same run elsewhere, free to be harmed."""
        return Run(shutil.copytree(self.folder, place), self.words)

    def digests(self) -> dict[str, str]:
        """SHA-256 of weights and model files: what must come out the same."""
        return {
            name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
            for name in (MODEL, WEIGHTS, RECORD)
        }

    def vouched(self) -> None:
        """Every file is as the manifest says, as `sha256sum -c` would find."""
        listed = json.loads((self.folder / "manifest.json").read_text())["files"]
        for each in listed:
            content = (self.folder / each["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == each["sha256"], each["path"]
        names = {each["path"] for each in listed}
        assert {"report.json", "report.md", "report.html", MODEL, WEIGHTS} <= names


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, draw_folder: Callable[..., Path]
) -> Run:
    """A small network, trained for an epoch."""
    place = tmp_path_factory.mktemp("made")
    data = draw_folder(place / "data", images=4)
    words = ("finetune", "--model", "lenet5", "--epochs", "1", "--data", str(data))
    run = Run(place / "run", words)
    assert run.again() == Exit.FIT
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return made.copy(tmp_path / "run")


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said; a sentence and no report."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


def test_the_report_is_written_after_everything_it_stands_for(made: Run) -> None:
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    files = [path for path in files if path.name not in {".lock", "events.jsonl"}]
    files.sort(key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in files[-2:]] == ["manifest.json", "report.json"]
    made.vouched()


def test_a_run_whose_journal_was_torn_goes_on(run: Run, made: Run) -> None:
    """As a full disk leaves it, before there was a report."""
    (run.folder / "report.json").unlink()
    with (run.folder / "events.jsonl").open("a") as journal:
        journal.write('{"time":')
    assert run.again() == Exit.FIT
    assert run.digests() == made.digests()
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    assert [line for line in lines if not line.endswith("}")] == ['{"time":']
    report = json.loads((run.folder / "report.json").read_text())
    assert {point["epoch"] for point in report["curves"]} == {1.0}


def test_a_report_without_its_other_files_gets_them_again(run: Run, made: Run) -> None:
    """As after a kill between the one and the others, by an older edgepress."""
    for name in ("report.md", "report.html", "manifest.json"):
        (run.folder / name).unlink()
    assert run.again() == Exit.FIT
    run.vouched()
    report = (run.folder / "report.json").read_text()
    assert report == (made.folder / "report.json").read_text()


@pytest.mark.parametrize("gone", [MODEL, WEIGHTS])
def test_what_is_missing_of_a_complete_run_is_made_again(
    run: Run, made: Run, gone: str
) -> None:
    (run.folder / gone).unlink()
    assert run.again() == Exit.FIT
    assert run.digests() == made.digests()
    run.vouched()


def changed(path: Path) -> None:
    """One character of a text, one bit of another file."""
    content = bytearray(path.read_bytes())
    at = content.rfind(b"0.") + 2 if path.suffix == ".json" else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("verb", ["again", "show", "verify"])
@pytest.mark.parametrize("name", [MODEL, WEIGHTS, RECORD, "report.json", "report.md"])
def test_what_was_changed_is_named_before_anything_is_said(
    run: Run, name: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(run.folder / name)
    code = run.again() if verb == "again" else main([verb, str(run.folder)])
    assert code == Exit.REJECTED
    assert f"'{name}' is not what the run wrote" in one_sentence(capsys)


def test_a_report_outlives_its_files_but_nothing_is_verified_without_them(
    run: Run, made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who removes large files still has the numbers, and hears that they are gone."""
    assert main(["show", str(made.folder), "--json"]) == Exit.FIT
    expected = capsys.readouterr().out
    (run.folder / MODEL).unlink()

    assert main(["show", str(run.folder), "--json"]) == Exit.FIT
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == json.loads(expected)["rows"]
    assert f"'{MODEL}' is no longer there" in printed.err

    assert main(["verify", str(run.folder)]) == Exit.REJECTED
    assert f"'{MODEL}' is no longer there" in one_sentence(capsys)


def test_a_manifest_leads_nowhere_else(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.folder / "manifest.json"
    path.write_text(json.dumps({"files": [{"path": "../x", "sha256": "0"}]}))
    assert main(["show", str(run.folder)]) == Exit.REJECTED
    assert "'../x', which is not below it" in one_sentence(capsys)


def test_a_stage_whose_record_was_changed_is_made_again(
    run: Run, made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """One digit of std, and the network would see other images than it learnt on."""
    (run.folder / "report.json").unlink()
    changed(run.folder / RECORD)
    assert main([*run.words, "--out", str(run.folder)]) == Exit.FIT
    told = capsys.readouterr().err
    assert "01-finetune: made again, because" in told
    assert "model.json: was changed since it was written" in told
    assert run.digests() == made.digests()


def test_a_model_without_a_digest_of_its_record_is_still_a_model(run: Run) -> None:
    """Older ones have none; a folder that is named by hand may be one of them."""
    record = json.loads((run.folder / RECORD).read_text())
    del record["record_sha256"]
    (run.folder / RECORD).write_text(json.dumps(record))
    data = run.words[run.words.index("--data") + 1]
    words = ["eval", "--model", str(run.folder / "01-finetune"), "--data", data, "-q"]
    assert main(words) == Exit.FIT


def test_drafts_of_a_killed_run_are_gone_after_the_next(run: Run) -> None:
    """In its folder nobody else writes."""
    for name in (".x.onnx.17.part", "01-finetune/.state.0123456789abcdef.part"):
        (run.folder / name).write_bytes(b"half")
    assert run.again() == Exit.FIT
    assert not list(run.folder.rglob("*.part"))
