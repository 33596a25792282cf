"""The arrow, compress -> export -> runtime -> numpy and the standard library; rooms."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, NamedTuple

import pytest

from compress.pipeline.stages import WORK
from compress.recipe.stages import STAGES

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


# What a reader can keep in mind.
MOST_ROOMS = 17
MOST_LINES = 60
MOST_FIELDS = 20
When = Literal["at once", "later", "typing"]


class Import(NamedTuple):
    """One import: what it names, and when it runs.

    That is with its module, inside a function of it, or for the type checker alone.
    """

    file: Path
    target: str
    when: When

    @property
    def top(self) -> str:
        """The package that it loads."""
        return self.target.partition(".")[0]

    @property
    def module(self) -> Path | None:
        """The file of the house that it runs, if any."""
        path = ROOT.joinpath(*self.target.split("."))
        files = path.with_suffix(".py"), path / "__init__.py"
        return next((file for file in files if file.is_file()), None)


@cache
def imports(file: Path) -> tuple[Import, ...]:
    """Every import of a file, and every function that a table names as MODULE:NAME."""

    def walk(node: ast.AST, when: When) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    for name in names:
                        yield Import(file, name.name, when)
                case ast.ImportFrom(module=module, names=names, level=level):
                    assert level == 0, f"{file}: relative import"
                    yield Import(file, str(module), when)
                    for name in names:
                        yield Import(file, f"{module}.{name.name}", when)
                case ast.Constant(value=str(text)) if re.fullmatch(
                    rf"({'|'.join(PACKAGES)})(\.\w+)+:\w+", text
                ):
                    yield Import(file, text.partition(":")[0], "later")
                case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                    yield from walk(child, "typing")
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield from walk(child, "later" if when == "at once" else when)
                case _:
                    yield from walk(child, when)

    return tuple(walk(_tree(file), "at once"))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def files_of(folder: str) -> list[Path]:
    """Every file below a folder of the house."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return files


def of(folder: str) -> list[Import]:
    """Every import below a folder that ever runs."""
    every = (each for file in files_of(folder) for each in imports(file))
    return [each for each in every if each.when != "typing"]


def module_name(file: Path) -> str:
    """What an import calls a file of the house."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def load_without(modules: list[str], refused: list[str]) -> None:
    """Import `modules` in a process that has none of the packages `refused`."""
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
    needed = {each.top for each in of("runtime") if each.when == "at once"}
    assert needed - sys.stdlib_module_names <= {"runtime", "numpy"}
    later = {each.top for each in of("runtime") if each.when == "later"}
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
        module_name(file) for file in files_of("runtime") if file.stem != "__init__"
    ]
    heavy = ["torch", "onnx", "tensorflow", "compress", "export", "pydantic", "PIL"]
    load_without(modules, [*heavy, *sorted(INTERPRETERS)])


def test_a_recipe_is_read_where_torch_is_not() -> None:
    """What may be asked for is checked before anything heavy loads."""
    modules = [module_name(file) for file in files_of("compress/recipe")]
    load_without(modules, ["torch", "torchvision", "timm", "onnx", "numpy"])


def test_stages_know_neither_each_other_nor_who_carries_them_out() -> None:
    """But for one pair: what Distill is compared with is FineTune, by definition."""
    modules = {kind.__module__ for kind in STAGES.values()}
    above = ("compress.cli", "compress.pipeline", "compress.recipe.recipe")
    found = {
        (module_name(each.file), each.target)
        for each in of("compress/recipe")
        if module_name(each.file) in modules
        and (each.target in modules or each.target.startswith(above))
    }
    assert found == {("compress.recipe.distill", "compress.recipe.finetune")}


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("compress.cli", {"compress/cli", "compress/__main__.py"}),
        ("compress.pipeline", {"compress/pipeline", "compress/cli", "compress/python"}),
    ],
)
def test_nothing_below_imports(room: str, allowed: set[str]) -> None:
    """Verbs know the recipe and the loop; these know no verb, and stages no loop."""
    found = {
        each.file.relative_to(ROOT).as_posix()
        for each in of("compress")
        if each.target == room or each.target.startswith(f"{room}.")
    }
    assert {file for file in found if not file.startswith(tuple(allowed))} == set()


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Nor in the functions of it: what waits for a call is an arrow all the same."""
    arrows = {
        (module_name(each.file), module_name(each.module))
        for package in PACKAGES
        for each in of(package)
        if each.module is not None
    }
    assert circle_of(arrows) == []


def test_rooms_stand_one_upon_another() -> None:
    """So that they can be drawn, and read, from the ground up."""
    arrows = {(room_of(each.file), room_of(each.module)) for each in of("compress")}
    assert circle_of({(a, b) for a, b in arrows if a and b}) == []


def circle_of(arrows: set[tuple[str, str]]) -> list[str]:
    """Names that lead back to the first of them; empty if none does."""
    sorter = TopologicalSorter[str]()
    for start, end in arrows:
        if start != end:
            sorter.add(start, end)
    try:
        sorter.prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_a_circle_is_found() -> None:
    """The oracle of the tests above, by one that is made."""
    assert set(circle_of({("a", "b"), ("b", "c"), ("c", "b")})) == {"b", "c"}
    assert circle_of({("a", "a"), ("a", "b"), ("c", "b")}) == []


def room_of(file: Path | None) -> str | None:
    """The folder of `compress` that a file lies in, however deep."""
    if file is None or not file.is_relative_to(ROOT / "compress"):
        return None
    inside = file.relative_to(ROOT / "compress").parts
    return inside[0] if len(inside) > 1 else None


def test_no_two_rooms_import_each_other() -> None:
    """Not even for the type checker; the arrow that is new is named."""
    arrows: dict[tuple[str, str], set[str]] = {}
    for file in files_of("compress"):
        for each in imports(file):
            ends = room_of(file), room_of(each.module)
            if None not in ends and ends[0] != ends[1]:
                said = f"{module_name(file)} imports {each.target}"
                arrows.setdefault(ends, set()).add(said)  # type: ignore[arg-type]
    both = {ends: said for ends, said in arrows.items() if ends[::-1] in arrows}
    assert both == {}


def test_compress_is_a_few_rooms_and_a_door() -> None:
    rooms = {room_of(file) for file in files_of("compress")} - {None}
    assert len(rooms) <= MOST_ROOMS
    loose = {path.name for path in (ROOT / "compress").glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}


def test_whether_a_network_is_int8_is_asked_in_one_place() -> None:
    """`compress/models/network.py`; by `isinstance` or by a pattern."""
    asking = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in files_of(package)
        for node in ast.walk(_tree(file))
        if _asks_for(node, "QuantizedNet")
    }
    assert asking == {"compress/models/network.py"}


def _asks_for(node: ast.AST, name: str) -> bool:
    """Whether an expression asks if something is of the class `name`."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
            return name in ast.unparse(kinds)
        case ast.MatchClass(cls=kind):
            return name in ast.unparse(kind)
    return False


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {node.name} has {lines} lines"
        for package in PACKAGES
        for file in files_of(package)
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES
    ]
    assert long == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_adds_few_options_to_those_it_shares(name: str) -> None:
    kind = STAGES[name]
    (shared, *_) = kind.__bases__
    own = set(kind.model_fields) - set(shared.model_fields)  # type: ignore[attr-defined]
    assert len(own) <= MOST_FIELDS


def test_every_stage_of_a_recipe_has_somebody_to_carry_it_out() -> None:
    """Tables, not registries: the two name the same stages, and what is there."""
    assert set(STAGES.values()) == set(WORK)
    for kind, work in WORK.items():
        assert kind.__module__.startswith("compress.recipe.")
        for named in filter(None, work):
            assert callable(resolve_name(named)), named


def test_tests_lie_beside_the_rooms_that_they_test() -> None:
    """In folders of the same names; what all of them share is above."""
    tests = ROOT / "tests/compress"
    loose = {path.name for path in tests.glob("*.py")}
    folders = {path.name for path in tests.iterdir() if any(path.glob("*.py"))}
    assert loose == {"conftest.py"}
    assert folders <= {room_of(file) for file in files_of("compress")}
