"""README and ARCHITECTURE against the tree they describe.

As a script: write the code map of ARCHITECTURE.md anew.
"""

import ast
import re
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("compress", "export", "runtime")
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
HEADING = "## Code map\n"


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    return told.partition("\n")[0].removesuffix(".")


def code_map() -> str:
    """A heading for every folder and a line for every file, with what they say."""
    parts = [HEADING]
    for folder, inside in groupby(_files(), key=lambda path: path.parent):
        name = folder.relative_to(ROOT).as_posix()
        parts.append(f"### `{name}/`: {summary(folder / '__init__.py')}\n")
        lines = [
            f"| `{path.name}` | {summary(path)} |"
            for path in inside
            if path.stem != "__init__"
        ]
        parts.append("\n".join(["| file | what it is |", "|---|---|", *lines, ""]))
    return "\n".join(parts)


def _files() -> list[Path]:
    """Every module, a folder's own ahead of what lies deeper."""
    files = [path for each in PACKAGES for path in (ROOT / each).rglob("*.py")]
    return sorted(files, key=lambda path: (path.parent.parts, path.name))


def test_the_code_map_has_what_every_file_says_of_itself() -> None:
    """It is the last section, and `python tests/test_readme.py` writes it anew."""
    _, heading, told = ARCHITECTURE.read_text().partition(HEADING)

    assert heading + told == code_map()


def test_a_file_that_architecture_names_is_there() -> None:
    """By the end of its path, as the text around it says where."""
    text, _, _ = ARCHITECTURE.read_text().partition(HEADING)
    named = {*re.findall(r"[a-z0-9_/]+\.py", text)}
    folders = (*PACKAGES, "tests", "benchmarks")
    every = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for path in every]

    assert len(named) > 50
    assert [name for name in named if not any(p.endswith(name) for p in paths)] == []


def test_a_type_that_architecture_names_is_there() -> None:
    """In the table of types, by the first column."""
    text, _, _ = ARCHITECTURE.read_text().partition(HEADING)
    rows = re.findall(r"^\| (`[A-Z]\w+`(?:, `\w+`)*)", text, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    classes = {
        found
        for path in _files()
        for found in re.findall(r"^class (\w+)", path.read_text(), flags=re.MULTILINE)
    }

    assert len(named) > 50
    assert named - classes == set()


def test_every_verb_is_in_the_readme() -> None:
    from compress.cli.main import VERBS

    for verb in VERBS:
        assert f"compress {verb}" in readme()


def test_the_recipe_of_the_guide_is_one(tmp_path: Path) -> None:
    """What a user copies must be accepted as it stands."""
    from compress.recipe.recipe import read_recipe

    guide = (ROOT / "docs/recipes.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(text)

    assert read_recipe(tmp_path / "recipe.yaml").name == "flowers"


def readme() -> str:
    """The README."""
    return (ROOT / "README.md").read_text()


if __name__ == "__main__":
    before, _, _ = ARCHITECTURE.read_text().partition(HEADING)
    ARCHITECTURE.write_text(before + code_map())
