"""The command that a sentence names: libraries and versions, from pyproject.toml."""

import shlex
from importlib import metadata
from pathlib import Path

import pytest

from runtime.requirements import pip_line

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
PROJECT = tomllib.loads(
    (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_every_library_of_an_extra_is_named_with_its_version(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip's own parser reads pyproject.toml; nothing of ours, which no index has."""
    from packaging.requirements import Requirement

    def needed(name: str) -> set[tuple[str, str]]:
        found = set()
        for line in PROJECT["optional-dependencies"][name]:
            each = Requirement(line)
            if each.marker is not None and not each.marker.evaluate():
                continue
            if each.name != "edgepress":
                found.add((each.name, str(each.specifier)))
            for inner in each.extras if each.name == "edgepress" else ():
                found |= needed(inner)
        return found

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    pip, install, *words = shlex.split(pip_line(extra))

    assert (pip, install) == ("pip", "install")
    read = {(each.name, str(each.specifier)) for each in map(Requirement, words)}
    assert read == needed(extra)


def test_a_folder_that_was_only_copied_names_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No distribution of ours is there to be asked."""

    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)

    assert pip_line("onnx") == "pip install 'onnxruntime'"
    assert pip_line("") == "pip install 'numpy'"


def test_what_is_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `report`, matplotlib is installed and jinja2 is not."""
    real = metadata.version

    def version(name: str) -> str:
        if name == "jinja2":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)

    (word,) = shlex.split(pip_line("report"))[2:]
    assert word.startswith("jinja2>=")
