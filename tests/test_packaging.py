"""What is in the wheel, and what it can do where only numpy is."""

import email
import os
import subprocess
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib

from runtime.requirements import pip_line

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {"compress", "export", "runtime"}
DATA = {"py.typed", "report.html.jinja", "blocks.c", "calibration.json"}
# Of the base install, so that a board has room for it.
LARGEST_BYTES = 5_000_000


def isolated() -> dict[str, str]:
    """An environment that leads to no Python package of this checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def test_every_folder_with_python_in_it_is_a_package_of_the_wheel() -> None:
    """The list in pyproject.toml is explicit; nobody may be forgotten."""
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert listed == there
    folders = [ROOT / name.replace(".", "/") for name in there]
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_base_install_is_what_a_device_needs() -> None:
    assert [each.partition(">")[0] for each in PROJECT["project"]["dependencies"]] == [
        "numpy"
    ]


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == PACKAGES | {f"edgepress-{version('edgepress')}.dist-info"}
    inside = {name for name in names if name.partition("/")[0] in PACKAGES}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or path.name in DATA
    }
    assert inside == expected
    assert "compress/report/report.html.jinja" in inside
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside


@pytest.mark.slow
def test_the_base_install_takes_five_megabytes_at_most(wheel: Path) -> None:
    """Unpacked, with compress and export: a device needs no other wheel."""
    with zipfile.ZipFile(wheel) as opened:
        sizes = {each.filename: each.file_size for each in opened.infolist()}
    assert sum(sizes.values()) <= LARGEST_BYTES
    alone = sum(n for name, n in sizes.items() if name.startswith("runtime/"))
    assert alone <= LARGEST_BYTES / 5


@pytest.mark.slow
def test_the_metadata_is_that_of_the_project(wheel: Path) -> None:
    name = f"edgepress-{version('edgepress')}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        facts = email.message_from_bytes(opened.read(f"{name}/METADATA"))
        scripts = opened.read(f"{name}/entry_points.txt").decode()
        licenses = [each for each in opened.namelist() if each.endswith("LICENSE")]
    assert facts["Version"] == PROJECT["project"]["version"] == version("edgepress")
    assert facts["License-Expression"] == "Apache-2.0"
    assert licenses
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert set(facts.get_all("Provides-Extra", [])) == extras
    for script in ("compress", "edgepress"):
        assert f"{script} = compress.cli.main:entry" in scripts


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that holds this wheel, numpy and nothing else."""
    place = tmp_path_factory.mktemp("device")
    venv.create(place, with_pip=True)
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet"]
    for words in (["numpy"], ["--no-deps", "--no-index", str(wheel)]):
        done = subprocess.run(
            [*pip, *words], capture_output=True, text=True, env=isolated(), check=False
        )
        if done.returncode and words == ["numpy"]:
            pytest.skip(f"pip cannot install numpy here: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    return place / "bin"


def on(device: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, far from the checkout."""
    return subprocess.run(
        [str(device / "compress"), *words],
        capture_output=True,
        text=True,
        cwd=device,
        env=isolated(),
        check=False,
    )


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as the exporter writes it."""
    from compress.models.nets.lenet import LeNet5
    from export.to_onnx import to_onnx
    from runtime.preprocess import Preprocess

    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    to_onnx(
        LeNet5().eval(),
        size=32,
        path=path,
        batch="static",
        classes=tuple("0123456789"),
        preprocess=Preprocess(size=32, resize=32),
        recipe_sha256="0" * 64,
        name="lenet5",
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["profile", "--help"], ["models"]]
)
def test_a_device_can_ask_what_there_is(device: Path, words: list[str]) -> None:
    done = on(device, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
def test_the_doctor_of_a_device_lists_what_is_missing(device: Path) -> None:
    import json

    done = on(device, "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {"onnx", "compress", "export"} <= set(told["install"])
    assert told["install"]["onnx"].startswith("pip install 'onnxruntime>=")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["profile", "FILE"], "onnx"),
        (["distill", "--teacher", "resnet50", "--student", "lenet5"], "compress"),
        (["finetune", "--model", "lenet5"], "compress"),
        (["eval", "--model", "FILE"], "compress"),
        (["export", "--model", "lenet5"], "compress"),
        (["run", "recipe.yaml"], "compress"),
        (["distill", "--help"], "compress"),
    ],
)
def test_what_a_device_lacks_is_named_with_the_line_that_brings_it(
    device: Path, onnx_file: Path, words: list[str], extra: str
) -> None:
    done = on(device, *(str(onnx_file) if w == "FILE" else w for w in words))
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("compress: ")
    assert pip_line(extra) in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.slow
def test_the_runtime_runs_alone(device: Path, onnx_file: Path) -> None:
    """`python -m runtime` says the same as `compress profile`."""
    done = subprocess.run(
        [str(device / "python"), "-m", "runtime", str(onnx_file)],
        capture_output=True,
        text=True,
        cwd=device,
        env=isolated(),
        check=False,
    )
    assert done.returncode == 6
    assert "pip install 'onnxruntime>=" in done.stderr
