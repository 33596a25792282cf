"""Install the oldest libraries that pyproject.toml allows, and let them work once.

    python tests/oldest.py FOLDER onnx tflite -- -m runtime FILE.onnx FILE.tflite
    python tests/oldest.py FOLDER all -- -m compress run RECIPE.yaml --out RUN

FOLDER becomes an environment of this Python (or --python) with the base install and
those extras; what follows `--` is then run by it, on this checkout. `make test` does
the first.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parents[1]
# Oldest wheels only: nothing is compiled.
PIP: Final = ("-m", "pip", "--disable-pip-version-check")


def requirements(python: str, *extras: str) -> dict[str, Requirement]:
    """What the base install and `extras` ask of a `python` on this machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"]
    ask = "import platform; print(platform.python_version())"
    version = told(python, "-c", ask).strip()
    place = {
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
    }

    def asked(texts: list[str]) -> Iterator[Requirement]:
        for text in texts:
            each = Requirement(text)
            if each.name == "edgepress":
                for extra in each.extras:
                    yield from asked(optional[extra])
            elif each.marker is None or each.marker.evaluate(place):
                yield each

    texts = [*project["project"]["dependencies"]]
    for extra in extras:
        texts += optional[extra]
    found: dict[str, Requirement] = {}
    for each in asked(texts):
        found.setdefault(each.name, each).specifier &= each.specifier
    return found


def oldest(python: str, asked: Requirement) -> str:
    """The oldest release of a library that is allowed and has a wheel for `python`."""
    words = ("index", "versions", asked.name, "--only-binary", ":all:")
    line = re.search(r"Available versions: (.*)", told(python, *PIP, *words))
    versions = [Version(each) for each in line[1].split(", ")] if line else []
    return f"{asked.name}=={min(asked.specifier.filter(versions))}"


def told(python: str, *words: str) -> str:
    """What a Python program prints, far from this checkout."""
    return subprocess.run(
        [python, *words], capture_output=True, text=True, check=True, env=bare()
    ).stdout


def bare() -> dict[str, str]:
    """An environment that leads to no package of this checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def main(words: list[str]) -> int:
    """Make the environment, then run what was asked in it; gives its exit status."""
    split = words.index("--")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args(words[:split])
    asked = requirements(options.python, *options.extras).values()
    exact = sorted(oldest(options.python, each) for each in asked)
    sys.stderr.write("\n".join(exact) + "\n")
    told(options.python, "-m", "venv", str(options.folder))
    python = str(options.folder / "bin" / "python")
    told(python, *PIP, "install", "--quiet", "--only-binary", ":all:", *exact)
    environment = bare() | {"PYTHONPATH": str(ROOT)}
    command = [python, *words[split + 1 :]]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
