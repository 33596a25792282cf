"""Nothing that is imported here writes home: no look-up, no file but our own.

Each command runs in a network namespace of its own, from which no packet has a route;
the kernel counts those that were tried, whoever tried (Ip OutNoRoutes).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
RECIPE = """\
name: small
model: {name: lenet5, width: 0.25}
data: {source: "folder:DATA", size: 32}
stages:
  - finetune: {epochs: 1}
  - ptq: {calib_images: 16}
export: {to: [onnx, tflite], dtype: [float32, int8]}
"""
# Run in the namespace: what was tried, before and after a command.
COUNTED = """
import json, pathlib, subprocess, sys
def tried():
    lines = pathlib.Path("/proc/net/snmp").read_text().splitlines()
    keys, values = [line.split() for line in lines if line.startswith("Ip:")]
    six = dict(l.split() for l in open("/proc/net/snmp6").read().splitlines())
    return int(values[keys.index("OutNoRoutes")]) + int(six.get("Ip6OutNoRoutes", 0))
before = tried()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
told = {"code": done.returncode, "err": done.stderr[-2000:], "tried": tried() - before}
print(json.dumps(told))
"""
# Settings and caches of libraries that say nothing about anybody.
HARMLESS = ("/.cache/matplotlib", "/.config/matplotlib", "/.keras")


class Seen(NamedTuple):
    """What a command did besides its work."""

    code: int
    err: str
    tried: int  # packets for the network
    files: list[str]  # left in HOME


Watch = Callable[..., Seen]


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """What begins a command that shall have no network."""
    words = ["unshare", "--map-root-user", "--net"]
    able = shutil.which("unshare") is not None and (
        subprocess.run([*words, "true"], capture_output=True, check=False).returncode
        == 0
    )
    if not able and os.environ.get("CI") == "true":
        pytest.fail("CI must be able to make a network namespace (unshare)")
    if not able:
        pytest.skip("no network namespace can be made here (unshare)")
    return words


@pytest.fixture
def watch(namespace: list[str], tmp_path: Path) -> Watch:
    """Run a command in a fresh HOME without a network."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and k != "CI"}
    for key in ("DO_NOT_TRACK", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NNCF_CI"):
        kept.pop(key, None)
    kept |= {
        "HOME": str(home),
        "EDGEPRESS_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }

    def run(*words: str) -> Seen:
        done = subprocess.run(
            [*namespace, sys.executable, "-c", COUNTED, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=kept,
            check=True,
        )
        told = json.loads(done.stdout)
        return Seen(
            **told,
            files=[
                str(path)
                for path in home.rglob("*")
                if path.is_file()
                and not str(path).removeprefix(str(home)).startswith(HARMLESS)
            ],
        )

    return run


def drawn(folder: Path) -> Path:
    """Thirty small images of three classes."""
    rng = np.random.default_rng(0)
    for number in range(30):
        path = folder / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def python(code: str) -> tuple[str, ...]:
    """A Python program as a command."""
    return (sys.executable, "-c", code)


def test_the_watch_sees_a_look_up_and_a_file(watch: Watch) -> None:
    """The oracle itself: what asks for a host is counted, what it leaves is found."""
    look_up = (
        "import socket\ntry: socket.getaddrinfo('example.org', 443)\nexcept OSError: 0"
    )
    leave = "import pathlib; (pathlib.Path.home() / 'id').touch()"

    assert watch(*python(look_up)).tried > 0
    seen = watch(*python(leave))
    assert [Path(name).name for name in seen.files] == ["id"]


def test_the_watch_sees_what_onnx_runtime_would_keep(watch: Watch) -> None:
    """From 1.29 on a device id, at the first import; this is what is switched off."""
    onnxruntime = pytest.importorskip("onnxruntime")
    version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    seen = watch(*python("import onnxruntime"))
    assert bool(seen.files) == (version >= (1, 29)), seen


@pytest.mark.parametrize(
    "code",
    [
        "import runtime, onnxruntime",
        "from compress.context.vision import timm, torchvision",
        "import runtime, ai_edge_litert.interpreter",
        "from compress.quantization import nncf; import nncf",
        "import runtime, accelerate, safetensors, huggingface_hub",
    ],
)
def test_a_library_that_is_imported_by_us_reports_to_nobody(
    watch: Watch, code: str
) -> None:
    seen = watch(*python(code))
    assert (seen.code, seen.tried, seen.files) == (0, 0, []), seen


@pytest.mark.slow
def test_onnx_runtime_says_nothing_later_either(watch: Watch) -> None:
    """It looks its host up about ten seconds after its first import."""
    seen = watch(*python("import time, runtime, onnxruntime; time.sleep(15)"))
    assert (seen.code, seen.tried, seen.files) == (0, 0, []), seen


@pytest.mark.slow
def test_no_verb_writes_home(watch: Watch, tmp_path: Path) -> None:
    """The main verbs, each in its own process, on every format."""
    data = drawn(tmp_path / "images")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("DATA", str(data)))
    run, out = str(tmp_path / "run"), ("--out", str(tmp_path / "out"))
    files = f"{run}/artifacts"
    onnx, tflite = f"{files}/model-lenet5.onnx", f"{files}/model-lenet5-int8.tflite"
    images = ("--data", f"folder:{data}", "--image-size", "32")
    ours, floats = (sys.executable, "-m", "compress"), f"{run}/01-finetune"

    for words in (
        (*ours, "run", str(recipe), "--out", run),
        (*ours, "verify", run, "--threshold", "0"),
        (*ours, "eval", "--model", onnx, *images),
        (*ours, "eval", "--model", tflite, *images),
        (*ours, "show", run),
        (*ours, "doctor"),
        (*ours, "profile", onnx, tflite),
        (sys.executable, "-m", "runtime", onnx, "--runs", "20"),
        (*ours, "quantize", "--model", floats, "--engine", "nncf", *images, *out),
    ):
        seen = watch(*words)
        assert seen.code in {0, 5}, (words, seen)  # of one epoch: it may be at chance
        assert (seen.tried, seen.files) == (0, []), (words, seen)


@pytest.mark.slow
def test_tensorflow_reports_to_nobody(watch: Watch) -> None:
    """Its network is saved and converted, which loads Keras, too."""
    pytest.importorskip("tensorflow")
    code = (
        "import keras; n = keras.Sequential([keras.Input((32, 32, 3)), "
        "keras.layers.Conv2D(4, 3, strides=8), keras.layers.GlobalAveragePooling2D(), "
        "keras.layers.Dense(3)]); n.save('net.h5')\n"
        "from pathlib import Path; from export.from_tensorflow import to_tflite\n"
        "to_tflite(Path('net.h5'), Path('net.tflite'), dtype='float32')"
    )
    seen = watch(*python(code))
    assert (seen.code, seen.tried, seen.files) == (0, 0, []), seen
