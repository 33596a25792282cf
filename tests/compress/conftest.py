"""What the tests of the command line, and those of training, share."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from runtime import measure, taking
from runtime.fresh import Fresh

ROOT = Path(__file__).parents[2]
SIDE_PIXELS = 32
FRESH: list[Fresh | None] = []  # what one file took in a process of its own
Started = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def _measured_briefly() -> Iterator[None]:
    """A tenth of the inferences, and one fresh process for all files: no test of these.

    What a measurement is worth is tested below tests/runtime.
    """
    real = taking.fresh

    def fresh(path: Path, *, threads: int, runtime: str | None = None) -> Fresh | None:
        if not FRESH:
            FRESH.append(real(path, threads=threads, runtime=runtime))
        return FRESH[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taking, "fresh", fresh)
        for each in (measure.measure, measure.measure_together):
            patch.setitem(each.__kwdefaults__, "runs", 20)
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that no other test has filled."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEPRESS_CACHE", str(folder))
    return folder


@pytest.fixture
def started() -> Started:
    """Run `compress WORDS` in a process; `before` is Python that it runs first."""

    def start(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
        code = f"{before}\nimport sys\nfrom compress.cli.main import entry\nentry()"
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )

    return start


def _drawn(folder: Path, *, classes: str = "abcd", images: int = 10) -> Path:
    """One folder of PNGs a class: noise, brightest in the class's own quadrant."""
    rng = np.random.default_rng(0)
    half = SIDE_PIXELS // 2
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        top, left = half * (index // 2 % 2), half * (index % 2)
        for number in range(images):
            shape = (SIDE_PIXELS, SIDE_PIXELS, 3)
            pixels = rng.integers(0, 100, shape, dtype=np.uint8)
            pixels[top : top + half, left : left + half] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def draw_folder() -> Callable[..., Path]:
    """Draw a folder of small images that a network can tell apart at a glance."""
    return _drawn


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The folder of an untrained network for the four classes that are drawn."""
    from compress.context.console import Console
    from compress.models.build import build
    from compress.models.checkpoint import save_model
    from compress.models.spec import ModelSpec

    model = build(
        ModelSpec(name="lenet5"),
        classes=("a", "b", "c", "d"),
        native_size=SIDE_PIXELS,
        size=SIDE_PIXELS,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    save_model(model, tmp_path / "network")
    return tmp_path / "network"


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The file tiny_training.py, which also runs in processes of its own."""
    name, file = (
        "tiny_training",
        Path(__file__).parent / "training" / "tiny_training.py",
    )
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
