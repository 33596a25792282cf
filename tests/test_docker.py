"""Dockerfiles keep to hadolint's rules."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def test_the_image_that_builds_models_has_a_recipe() -> None:
    if not FILES:
        pytest.skip("docker/ holds no Dockerfile yet")
    assert ROOT / "docker/build.Dockerfile" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; pip install 'edgepress[dev]'")
    done = subprocess.run(
        [str(hadolint), str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
