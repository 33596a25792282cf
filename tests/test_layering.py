"""The arrow: compress -> export -> runtime -> numpy and the standard library."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("compress", "export", "runtime")
# What a room may import from the house, whenever.
ALLOWED = {
    "runtime": {"runtime"},
    "export": {"export", "runtime"},
    "compress": {"compress", "export", "runtime"},
}
# Interpreters, each imported by its own file when a file of its format is opened.
INTERPRETERS = {
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "openvino",
    "executorch",
}


class Import(NamedTuple):
    """One import statement: what it names, and whether it runs with its module."""

    file: Path
    target: str
    at_once: bool

    @property
    def top(self) -> str:
        """The package that it loads."""
        return self.target.partition(".")[0]


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file; those for the type checker do not count."""

    def walk(node: ast.AST, *, at_once: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    for name in names:
                        yield Import(file, name.name, at_once)
                case ast.ImportFrom(module=module, names=names, level=level):
                    assert level == 0, f"{file}: relative import"
                    yield Import(file, str(module), at_once)
                    for name in names:
                        yield Import(file, f"{module}.{name.name}", at_once)
                case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                    continue
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield from walk(child, at_once=False)
                case _:
                    yield from walk(child, at_once=at_once)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")), at_once=True)


def of(folder: str) -> list[Import]:
    """Every import below a folder of the house."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return [each for file in files for each in imports(file)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_against_the_arrow(package: str) -> None:
    house = {*PACKAGES, "tests", "benchmarks"}
    against = [
        each
        for each in of(package)
        if each.top in house and each.top not in ALLOWED[package]
    ]
    assert against == []


def test_the_runtime_needs_numpy_and_the_standard_library() -> None:
    needed = {each.top for each in of("runtime") if each.at_once}
    assert needed - sys.stdlib_module_names <= {"runtime", "numpy"}
    later = {each.top for each in of("runtime") if not each.at_once}
    allowed = {"runtime", "numpy", "PIL"} | INTERPRETERS
    assert later - sys.stdlib_module_names <= allowed
    # Decoders of images, which `--classify` is without where there are none.
    decoding = {each.file.name for each in of("runtime") if each.top == "PIL"}
    assert decoding == {"picture.py", "depth.py"}


def test_only_the_file_of_its_format_imports_an_interpreter() -> None:
    """LiteRT goes by two names."""
    importing = {each.file.name for each in of("runtime") if each.top in INTERPRETERS}
    assert importing == {"ort.py", "openvino.py", "executorch.py"}
    by_name = [
        file.name
        for file in sorted((ROOT / "runtime").rglob("*.py"))
        if "import_module(" in file.read_text()
    ]
    assert by_name == ["litert.py", "table.py"]  # the table imports our own files
    assert not [
        each
        for package in ("compress", "export")
        for each in of(package)
        if each.top == "onnxruntime"
    ]


def test_the_runtime_loads_where_nothing_heavy_exists() -> None:
    """Every module of it, in a process that refuses all but numpy."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "runtime").rglob("*.py"))
        if path.stem != "__init__"
    ]
    heavy = ["torch", "onnx", "tensorflow", "compress", "export", "pydantic", "PIL"]
    refused = [*heavy, *sorted(INTERPRETERS)]
    code = (
        "import importlib, sys\n"
        f"refused = {refused!r}\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in refused: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(len(set(refused) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_stages_know_neither_each_other_nor_who_runs_them() -> None:
    """But for one pair: what Distill is compared with is FineTune, by definition."""
    known = {("distill", "compress.recipe.finetune")}
    stages = {path.stem for path in (ROOT / "compress/stages").glob("*.py")}
    shared = {"__init__", "stage"}
    peers = {f"compress.recipe.stages.{name}" for name in stages - shared}
    forbidden = peers | {
        "compress.cli.main",
        "compress.pipeline.run",
        "compress.recipe.recipe",
    }
    found = {
        (each.file.stem, each.target)
        for each in of("compress/stages")
        if each.target in forbidden and each.file.stem != "__init__"
    }
    assert found == known


def test_nothing_below_the_command_line_imports_it() -> None:
    """Verbs know the recipe and the loop; these know no verb and no parser."""
    above = ("compress.cli.main", "compress.cli.verbs", "compress.cli.arguments")
    allowed = {"cli.py", "__main__.py", "flags.py"}
    found = [
        each
        for each in of("compress")
        if each.target.startswith(above)
        and each.file.parent.name != "verbs"
        and each.file.name not in allowed
    ]
    assert found == []


def test_there_is_no_registry_by_import() -> None:
    """Tables, not registries: the table of stages names each class of its folder."""
    from compress.recipe.stages import STAGES

    files = {path.stem for path in (ROOT / "compress/stages").glob("*.py")}
    assert {kind.__module__.rpartition(".")[2] for kind in STAGES.values()} == (
        files - {"__init__", "stage"}
    )
