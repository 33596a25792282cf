import argparse
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib

from compress.cli.environment import diagnose
from compress.cli.verbs import doctor
from compress.context.console import Console
from compress.context.extras import EXTRAS, missing_extra
from runtime.requirements import pip_line

ROOT = Path(__file__).parents[2]


def declared() -> dict[str, list[str]]:
    """The extras of pyproject.toml, names only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    return {
        extra: [re.split(r"[<>=]", each)[0] for each in requirements]
        for extra, requirements in extras.items()
    }


def test_the_table_of_extras_is_that_of_pyproject() -> None:
    """Every requirement stands in the table once; `all` only gathers the others."""
    for extra, names in declared().items():
        if extra in {"all", "jetson-test"}:  # a sum; a parser that only tests ask
            continue
        here = {library.distribution for library in EXTRAS[extra]}
        elsewhere = {each.distribution for rest in EXTRAS.values() for each in rest}
        required = {name for name in names if not name.startswith("edgepress[")}
        assert here <= required
        assert required <= elsewhere
    assert declared().keys() - EXTRAS.keys() == {"all", "jetson-test"}
    assert set(declared()["all"][0][len("edgepress[") : -1].split(",")) | {
        "dev",
        "executorch",  # two dozen packages that few need
    } == set(EXTRAS)


def test_what_we_tell_people_to_install_exists() -> None:
    """Every extra that a sentence asks `pip_line` for."""
    for package in ("compress", "export", "runtime"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for extra in re.findall(r"pip_line\(['\"]([\w-]+)['\"]\)", text):
                assert extra in EXTRAS, file


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch.nn", "compress"),
        ("sklearn", "compress"),
        ("yaml", "compress"),
        ("onnx", "export"),
        ("onnxruntime", "onnx"),
        ("ai_edge_litert.interpreter", "tflite"),
        ("numpy", None),
        ("no_such_module", None),
    ],
)
def test_an_import_name_leads_to_its_extra(module: str, extra: str | None) -> None:
    assert missing_extra(module) == extra


def test_what_is_installed_has_its_version() -> None:
    found = {each.library.distribution: each.version for each in diagnose().found}
    for name in ("pytest", "torch", "onnxruntime"):
        assert found[name] == version(name)


def test_what_is_missing_comes_with_what_it_enables_and_the_pip_line() -> None:
    nothing = diagnose(lambda _: None)
    assert nothing.missing == tuple(EXTRAS)
    assert max(map(len, nothing.as_text().splitlines())) <= 80
    text = " ".join(nothing.as_text().split())
    for extra, libraries in EXTRAS.items():
        assert pip_line(extra) in text
        assert all(library.enables in text for library in libraries)
    assert json.loads(nothing.as_json())["install"]["onnx"] == pip_line("onnx")
    assert nothing.exit_code == 0


def test_tflite_runtime_stands_in_for_its_successor() -> None:
    found = diagnose(lambda name: "2.14.0" if name == "tflite-runtime" else None)
    assert "tflite" not in found.missing
    assert "from tflite-runtime" in found.as_text()


def test_a_package_of_which_only_metadata_is_left_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.cli.environment.find_spec", lambda _: None)
    found = diagnose(lambda _: "1.0")
    assert "onnx" in found.missing
    assert "1.0 is registered, but cannot load" in found.as_text()


def test_the_verb_answers_in_text_and_json() -> None:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    answer = doctor.execute(parser.parse_args([]), Console(verbosity="quiet"))
    assert json.loads(answer.as_json())["machine"]["cores"] >= 1
    assert "Machine: " in answer.as_text()


def test_the_doctor_imports_none_of_its_patients() -> None:
    """Not even numpy; and the module by itself not even its own work."""
    code = (
        "import sys, compress.cli.verbs.doctor as d, compress.cli.verbs.profile\n"
        "early = {'json', 'numpy', 'importlib.metadata'} & set(sys.modules)\n"
        "d.execute(None, None).as_text()\n"
        "late = {'torch', 'numpy', 'onnxruntime', 'onnx', 'rich'} & set(sys.modules)\n"
        "print(early, late)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set() set()", done.stderr
