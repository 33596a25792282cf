"""What all tests share: where real images and weights are, and a cache of their own."""

import os
from pathlib import Path

import pytest

import runtime  # noqa: F401  # before any test imports a library that would report

# Two test processes on two cores: one thread each, or they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(
    os.environ.get("EDGEPRESS_SHARED")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and weights; where it is missing, the test skips.

    Not so on CI, which has it: a test that never runs there proves nothing.
    """
    if not SHARED.is_dir() and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have the real images and weights ({SHARED})")
    if not SHARED.is_dir():
        pytest.skip(f"real images and weights are not here ({SHARED})")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep tests out of the user's cache; decoded pixels are shared by all tests.

    Out of their configuration, too, of which each test has an empty one.
    """
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("EDGEPRESS_CACHE", str(folder))
    empty = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty))
