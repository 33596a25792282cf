"""What all tests share: real images and weights, a cache, draws that are the same."""

import copy
import functools
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

import runtime  # noqa: F401  # before any test imports a library that would report

# A property holds or not; how long an example takes is the machine's affair.
hypothesis.settings.register_profile("edgepress", deadline=None)
hypothesis.settings.load_profile("edgepress")

# Two test processes on two cores: one thread each, or they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_ROOT = Path(__file__).parents[1]
SHARED = Path(
    os.environ.get("EDGEPRESS_SHARED")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)

# Fixtures of a whole folder that trace networks.
COSTLY = frozenset({"quantized", "everything", "int8_file", "float_file"})


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle; what is drawn is seeded below, the same each day."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests in one process that share what is costly; the others go anywhere.

    `--dist loadgroup` begins with the largest groups, so that no worker is left with a
    long one in the end.
    """
    for item in items:
        group = _shared_by(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))


def _shared_by(item: pytest.Item) -> str:
    """What a test shares: fixtures of its own file, by parameter, or COSTLY ones."""
    if not isinstance(item, pytest.Function):
        return ""
    file = item.nodeid.partition("::")[0]
    group = ""
    for name, (*_, fixture) in item._fixtureinfo.name2fixturedefs.items():
        if name in COSTLY:
            return fixture.baseid
        if fixture.scope == "module" and fixture.baseid == file:
            group = group or file
            if fixture.params:
                group = f"{file} {item.callspec.indices[name]}"
    return group


def _translate_once() -> None:
    """Keep torch.onnx's table of translations: it makes it anew, 0.5 s, for each file.

    It knows the operators that there are by then; an import may bring others. Each file
    gets a copy of its own, for what is registered for it alone.
    """
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    if module is None or hasattr(module, "made_once"):
        return
    make = module.ONNXRegistry.from_torchlib
    operators = sys.modules["torch"]._C._dispatch_get_all_op_names

    @functools.cache
    def made(known: int, *given: object, **named: object) -> Any:  # noqa: ANN401  # torch's own
        del known
        return make(*given, **named)

    def copied(*given: object, **named: object) -> object:
        table = made(len(operators()), *given, **named)
        mine = copy.copy(table)
        mine.functions = {key: [*each] for key, each in table.functions.items()}
        return mine

    module.made_once = made
    module.ONNXRegistry.from_torchlib = staticmethod(copied)


def _seed(name: str) -> None:
    """Seed every generator that has no seed of its own (TensorFlow takes Python's)."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the generator that libraries draw from
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    _translate_once()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> None:
    """A fixture draws the same, whichever test asks for it first."""
    _seed(f"{fixturedef.baseid}::{fixturedef.argname}::{request.param_index}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A test draws the same, whatever ran before it."""
    file, _, name = item.location
    _seed(f"{file}::{name}")


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


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays as it is."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for name in [
        "compress",
        "export",
        "runtime",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ]:
        for path in [_ROOT / name, *(_ROOT / name).rglob("*")]:
            if path.is_file() and path.suffix != ".pyc":
                copy = source / path.relative_to(_ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    done = subprocess.run(
        [*command, "--outdir", str(place / "dist"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "dist").glob("*.whl")
    return built
