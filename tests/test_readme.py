"""README and ARCHITECTURE against the tree they describe."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("compress", "export", "runtime")


def summaries() -> dict[str, str]:
    """The first line of every module's docstring, by path."""
    return {
        path.relative_to(ROOT).as_posix(): (
            ast.get_docstring(ast.parse(path.read_text())) or ""
        ).partition("\n")[0]
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def test_the_code_map_has_a_line_for_every_file() -> None:
    """A file that is new, gone or renamed shows at once."""
    listed = re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", readme(), flags=re.MULTILINE)

    assert sorted(listed) == sorted(summaries())


def test_a_line_of_the_code_map_says_what_the_file_says_of_itself() -> None:
    for path, summary in summaries().items():
        assert f"| `{path}` | {summary.rstrip('.')} |" in readme(), path


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
