"""What scripts and people rely on: streams, exit codes, quick answers."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from compress.cli import main as cli
from compress.cli.main import LOOKED_UP, VERBS, main
from compress.cli.verbs import doctor, finetune
from compress.context.answer import Facts
from runtime import errors
from runtime.errors import Exit

ROOT = Path(__file__).parents[3]


def command(*words: str) -> list[str]:
    """The command line as a user starts it."""
    return [sys.executable, "-m", "compress", *words]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["doctor", "--help"], ["profile", "--help"], []],
)
def test_quick_answers_load_no_heavy_library(words: list[str]) -> None:
    """What a shell completion or an impatient user asks for must not wait for torch."""
    code = (
        "import sys\n"
        "from compress.cli.main import main\n"
        f"assert main({words!r}) == 0\n"
        "heavy = {'numpy', 'torch', 'pydantic', 'yaml', 'rich', 'onnxruntime', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_the_flags_of_a_recipe_are_known_without_torch() -> None:
    code = (
        "import sys\n"
        "from compress.cli.main import main\n"
        "assert main(['distill', '--help']) == 0\n"
        "print(sorted({'numpy', 'torch', 'timm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "--temperature X" in done.stdout


def test_the_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == Exit.FIT
    assert capsys.readouterr().out == f"edgepress {version('edgepress')}\n"


def test_help_names_every_verb_and_every_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == Exit.FIT
    told = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in told
    for code in Exit:
        assert f"{int(code)} " in told
    assert max(map(len, told.splitlines())) <= 80


def test_every_verb_is_a_module_with_help_and_the_shared_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The flags that the contract promises for every verb, or for those that compute.

    A verb that computes nothing neither lists those nor takes them in silence.
    """
    modules = {path.stem for path in (ROOT / "compress/cli/verbs").glob("*.py")}
    assert set(VERBS) == modules - {"__init__", "one_stage"}
    for verb in VERBS:
        assert main([verb, "--help"]) == Exit.FIT
        told = capsys.readouterr().out
        for flag in ("--out", "--json", "-q", "-v"):
            assert f"{flag} " in told or f"{flag}," in told, (verb, flag)
        for flag in ("--seed", "--device", "--threads"):
            listed = re.search(rf"^  {flag} ", told, re.MULTILINE) is not None
            assert listed == (verb not in LOOKED_UP), (verb, flag)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("distil --teacher x", "unknown verb 'distil'; did you mean 'distill'?"),
        ("zzzz", "unknown verb 'zzzz'; known: distill, finetune, prune,"),
        ("finetune --modl x", "unknown flag '--modl'; did you mean '--model'?"),
        ("finetune --epoch=3", "unknown flag '--epoch=3'; did you mean '--epochs'?"),
        (
            "finetune --zzzz",
            "unknown flag '--zzzz'; `compress finetune --help` lists them all",
        ),
        (
            "show a b",
            "unknown word 'b'; `compress show --help` lists them all",
        ),
        ("--hepl", "unknown flag '--hepl'; did you mean '--help'?"),
        ("--json show x", "--json: the verb comes first: `compress show …`"),
        (
            "show",
            "the following arguments are required: RUN (see `compress show --help`)",
        ),
        ("eval --seed -1", "--seed: found '-1', which should be a whole number"),
        ("eval --threads 0", "--threads: found '0', which should be a whole number"),
        ("eval --threads x", "--threads: found 'x', which should be a whole number"),
        ("run", "name a recipe file, or ask for --schema"),
        ("devices ls --threads 2", "--threads: `compress devices` computes nothing;"),
        ("targets --device=pi5", "--device: `compress targets` computes nothing;"),
        ("doctor --seed 1", "--seed: `compress doctor` computes nothing; leave it out"),
    ],
)
def test_slips_of_the_pen_are_usage_errors_in_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == Exit.USAGE
    printed = capsys.readouterr()
    assert bool(printed.out) == ("--json" in words)
    assert printed.err.startswith(f"compress: {sentence}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "distill --teacher lenet5 --student lenet5 --alpha 1.5",
            "--alpha: found 1.5, which should be less than or equal to 1",
        ),
        (
            "distill --teacher lenet5 --student lenet5 --teacher-width 99",
            "--teacher-width: found 99.0, which should be less than or equal to 8",
        ),
        ("distill --teacher lenet5", "--student: is missing"),
        ("distill --student lenet5", "--teacher: is missing"),
        ("finetune", "--model: is missing"),
        ("finetune --model lenet5 --epochs ten", "--epochs: invalid int value: 'ten'"),
        (
            "finetune --model lenet5 --epochs 0",
            "--epochs: found 0, which should be greater than or equal to 1",
        ),
        (
            "finetune --model lenet5 --image-size 4",
            "--image-size: found 4, which should be greater than or equal to 8",
        ),
        (
            "finetune --model lenet5 --learning-rate inf",
            "--learning-rate: found inf, which should be a finite number",
        ),
        (
            "finetune --model lenet5 --top1-min nan",
            "--top1-min: found nan, which should be a finite number",
        ),
        ("export --model lenet5 --top1-min 95", "budget.top1_min: 95.0; allowed: a fr"),
        ("export --model lenet5 --to onxx", "--to: found 'onxx', which should be 'onn"),
        ("eval", "--model: is missing"),
        ("eval --model lenet5 --val-fraction 2", "--val-fraction: found 2.0, which sh"),
    ],
)
def test_a_wrong_value_is_told_by_its_flag(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by its place in the recipe, which the user of a flag has never seen."""
    assert main(words.split()) == Exit.USAGE
    printed = capsys.readouterr()
    assert printed.err.startswith(f"compress: {sentence}")
    assert printed.err.count("\n") == 1


def test_every_kind_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of the contract in DESIGN.md, by hand."""
    table: list[tuple[BaseException, int]] = [
        (errors.RecipeError("x"), 2),
        (errors.InputRejectedError("x"), 3),
        (errors.ParityError("x"), 4),
        (errors.MissingDependencyError("x"), 6),
        (errors.DeviceError("x"), 7),
        (errors.InterruptedRunError("x"), 130),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 7),
        (OSError(28, "No space left on device"), 2),
        (ModuleNotFoundError("x", name="sklearn.datasets"), 6),
    ]
    for error, code in table:

        def failing(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(doctor, "execute", failing)
        assert main(["doctor"]) == code
        printed = capsys.readouterr()
        assert printed.err.startswith("compress: ")
        assert printed.err.count("\n") == 1
        assert printed.out == ""


def test_a_missing_library_is_told_with_the_line_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> None:
        raise ModuleNotFoundError("no", name="onnxruntime.capi")

    monkeypatch.setattr(doctor, "execute", failing)
    assert main(["doctor"]) == Exit.MISSING
    assert "pip install 'onnxruntime>=" in capsys.readouterr().err


def test_a_bug_is_told_as_one_and_its_traceback_kept(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(doctor, "execute", failing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["doctor"]) == Exit.BUG
    told = capsys.readouterr().err
    (kept,) = tmp_path.iterdir()
    assert "this is a bug in edgepress (ZeroDivisionError: by accident)" in told
    assert str(kept) in told
    assert "Traceback" not in told
    assert "Traceback" in kept.read_text()
    assert kept.read_text().startswith("compress doctor\n")


def test_a_missing_module_of_no_extra_is_a_bug_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def failing(*_: object) -> None:
        raise ModuleNotFoundError("no module named 'zzz'", name="zzz")

    monkeypatch.setattr(doctor, "execute", failing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["doctor"]) == Exit.BUG
    assert "this is a bug" in capsys.readouterr().err


def test_json_is_all_there_is_on_stdout_and_the_verdict_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Facts(text="five", facts={"five": 5}, exit_code=Exit.BUDGET)
    monkeypatch.setattr(doctor, "execute", lambda *_: answer)
    assert main(["doctor", "--json"]) == Exit.BUDGET
    assert json.loads(capsys.readouterr().out) == {"five": 5}
    assert main(["doctor"]) == Exit.BUDGET
    assert capsys.readouterr().out == "five\n"


def test_only_the_first_of_several_processes_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `torchrun` numbers them."""
    monkeypatch.setenv("RANK", "1")
    assert main(["doctor"]) == Exit.FIT
    assert capsys.readouterr().out == ""


def test_threads_reach_the_libraries_that_load_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str | None] = []

    def looking(*_: object) -> Facts:
        seen.append(os.environ.get("OMP_NUM_THREADS"))
        return Facts(text="", facts=[])

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(finetune, "execute", looking)
    assert main(["finetune", "--threads", "3"]) == Exit.FIT
    assert seen == ["3"]


@pytest.mark.parametrize("words", [["run", "--schema"], ["distill", "--help"]])
def test_a_reader_that_leaves_early_is_no_error(words: list[str]) -> None:
    """As `compress … | head -1` does; the oracle is a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        done = subprocess.run(
            command(*words),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert (done.returncode, done.stderr) == (Exit.FIT, "")


def test_a_terminal_that_cannot_draw_lines_still_gets_the_answer() -> None:
    done = subprocess.run(
        command("models", "--help"),
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"usage: compress models" in done.stdout


def test_the_schema_of_recipes_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--schema"]) == Exit.FIT
    schema = json.loads(capsys.readouterr().out)
    assert {"model", "data", "stages", "budget"} <= set(schema["properties"])


def test_both_console_scripts_enter_here() -> None:
    from importlib.metadata import entry_points

    scripts = {
        each.name: each.load()
        for each in entry_points(group="console_scripts")
        if each.value.startswith("compress.")
    }
    assert scripts == {"compress": cli.entry, "edgepress": cli.entry}


def test_an_answer_can_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `--json` prints is what `--out` keeps, for verbs that make nothing else."""
    assert main(["doctor", "--json", "--out", str(tmp_path / "kept")]) == Exit.FIT

    kept = (tmp_path / "kept" / "doctor.json").read_text()
    assert kept == capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_that_its_own_parser_accepts(verb: str) -> None:
    """Word for word; quotes and folders are those of a shell."""
    module = importlib.import_module(f"compress.cli.verbs.{verb}")
    parser = cli.parser_of(verb, module)

    assert module.EXAMPLES
    for line in module.EXAMPLES:
        program, named, *words = shlex.split(line.partition(" > ")[0])
        assert (program, named) == ("compress", verb)
        assert parser.parsed(words)
        assert line in parser.format_help()


def test_the_short_help_leaves_out_what_few_people_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says how many flags there are besides; the long one has them all."""
    assert main(["finetune", "--help"]) == Exit.FIT
    short = capsys.readouterr().out
    assert main(["finetune", "--help-all"]) == Exit.FIT
    long = capsys.readouterr().out

    assert "--epochs" in short
    assert "--layer-decay" not in short
    assert "--layer-decay" in long
    flags = [
        set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)) for text in (short, long)
    ]
    (more,) = re.findall(r"(\d+) more flags: `compress finetune --help-all`", short)
    assert len(flags[1] - flags[0]) == int(more)


def test_bash_completes_verbs_and_flags(tmp_path: Path) -> None:
    """As bash itself finds them, with the script that `completion` prints."""
    script = tmp_path / "compress.bash"
    done = subprocess.run(
        command("completion", "bash"), capture_output=True, text=True, check=True
    )
    script.write_text(done.stdout)
    (function,) = re.findall(r"complete .*-F (\w+) compress", done.stdout)

    def completed(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        asked = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            f"{function} compress '{words[-1]}' '{words[-2]}'; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        told = subprocess.run(
            ["bash", "-c", asked], capture_output=True, text=True, check=True
        )
        return set(told.stdout.split())

    assert completed("compress", "fin") == {"finetune"}
    assert {"--epochs"} == completed("compress", "finetune", "--epo")
    assert completed("compress", "quantize", "--mode", "q") == {"qat"}
