"""Containers as devices, by a stand-in for the engine that runs programs here."""

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.devices import container
from compress.devices.container import ContainerDevice
from compress.devices.engine import Engine, engine
from compress.devices.table import device
from runtime.artifact import Artifact
from runtime.errors import DeviceError, EdgepressError, Exit, MissingDependencyError
from runtime.plan import Plan

ROOT = Path(__file__).parents[3]
# Notes every call; what `run` gets after the image it runs on this machine, with the
# folder that the container would see as /models.
ENGINE = f"""\
#!{sys.executable}
import json, os, pathlib, subprocess, sys
words = sys.argv[1:]
with open({{log!r}}, "a") as stream:
    stream.write(json.dumps(words) + "\\n")
if words[0] == "run":
    models = words[words.index("--volume") + 1].split(":")[0]
    name = words.index("--name") + 1
    image = next(i for i in range(name + 1, len(words)) if ":" in words[i]
                 and words[i].startswith("edgepress-"))
    inside = [word.replace("/models", models) for word in words[image + 1:]]
    environment = {{{{**os.environ, "PYTHONPATH": {str(ROOT)!r}}}}}
    sys.exit(subprocess.run([sys.executable, *inside], env=environment).returncode)
if words[0] in {{failing!r}} and words[1:] != ["--help"]:
    sys.stderr.write({{says!r}})
    sys.exit(1)
"""


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def tell(self, sentence: str) -> None:
        """Keep it."""
        self.sentences.append(sentence)


def stand_in(
    folder: Path, *, failing: tuple[str, ...] = (), says: str = "", script: str = ENGINE
) -> Path:
    """A program called docker in a folder of its own; its calls are in calls.jsonl."""
    program = folder / "docker"
    text = script.format(
        log=str(folder / "calls.jsonl"), failing=set(failing) or {""}, says=says
    )
    program.write_text(text, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A linear classifier of 8 x 8 images."""
    weight = np.linspace(-1, 1, 3 * 8 * 8 * 4, dtype=np.float32).reshape(-1, 4)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 8
    path = tmp_path / "linear.onnx"
    onnx.save(made, path)
    return path


def test_a_measurement_comes_back_from_the_container(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is the file's, its name is ours; the container is confined."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    stand_in(tmp_path)

    profile = device("docker:arm64").measure([model], Plan(runs=10), Heard())

    (found,) = profile.measurements
    assert found.artifact_sha256 == Artifact.read(model).sha256
    assert found.file == "linear.onnx"
    assert found.kind == "native"
    calls = (tmp_path / "calls.jsonl").read_text(encoding="utf-8")
    run = next(line for line in calls.splitlines() if line.startswith('["run"'))
    for word in ("--init", "none", "--read-only", "ALL", "no-new-privileges", ":ro"):
        assert word in run


def test_an_image_is_built_once_and_named_by_what_it_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built if `image inspect` fails; further words for the build change its name."""
    image = container.IMAGES["arm64"]
    there = Engine(program=str(stand_in(tmp_path)))
    assert there.build(image) == image.tag()
    assert '["build"' not in (tmp_path / "calls.jsonl").read_text(encoding="utf-8")
    plain = image.tag()

    monkeypatch.setenv("EDGEPRESS_DOCKER_BUILD", "--build-arg BASE=base:1")
    missing = Engine(program=str(stand_in(tmp_path, failing=("image",))))
    assert missing.build(image) == image.tag() != plain

    calls = (tmp_path / "calls.jsonl").read_text(encoding="utf-8")
    assert '"--build-arg", "BASE=base:1"' in calls


@pytest.mark.parametrize(
    "case",
    [
        (("info",), "Cannot connect to the daemon", "does not answer (Cannot connect"),
        (("image", "build"), "step 1\nno such base", "cannot be built: no such base"),
        (("image", "build"), "exec /bin/sh: exec format error", "docker/arm/install"),
    ],
    ids=["down", "build", "foreign"],
)
def test_what_an_engine_fails_at_is_one_sentence(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[tuple[str, ...], str, str],
) -> None:
    """An engine that is down, a build that fails, a processor that is not emulated."""
    failing, says, sentence = case
    monkeypatch.setattr("compress.devices.engine._PROGRAMS", ("docker",))
    monkeypatch.setenv("PATH", str(tmp_path))
    stand_in(tmp_path, failing=failing, says=says)

    with pytest.raises(DeviceError) as caught:
        ContainerDevice(kind="arm64").measure([model], Plan(runs=10), Heard())

    assert sentence in str(caught.value)
    assert caught.value.exit_code == Exit.DEVICE
    assert "\n" not in str(caught.value)


def test_without_an_engine_one_is_told_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 6, and the ways that need none."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        MissingDependencyError, match=r"to go on without .*--device cpu"
    ):
        engine()


def test_a_client_that_cannot_build_gives_way_to_one_that_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Docker's own without buildx before Debian's, which needs none."""
    for name, ends in (("first", "1"), ("second", "0")):
        (tmp_path / name).mkdir()
        program = tmp_path / name / "docker"
        program.write_text(f"#!/bin/sh\n[ $1 = info ] || exit {ends}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    assert engine().program == str(tmp_path / "second/docker")

    monkeypatch.setenv("PATH", str(tmp_path / "first"))
    with pytest.raises(MissingDependencyError, match="apt-get install docker-buildx"):
        engine()


def test_an_image_for_another_processor_runs_only_where_it_is_emulated(
    tmp_path: Path,
) -> None:
    """What runc says becomes what to run."""
    script = "#!/bin/sh\necho 'exec /usr/bin/python3: exec format error' >&2\nexit 1\n"
    there = Engine(program=str(stand_in(tmp_path, script=script)))

    with pytest.raises(DeviceError, match=r"no emulator is registered.*install"):
        there.run(container.IMAGES["arm64"], "tag", [], models=tmp_path, patience_s=20)


@pytest.mark.parametrize(
    ("runtimes", "built"),
    [('{"runc": {}}', False), ('{"nvidia": {}, "runc": {}}', True)],
    ids=["workstation", "jetson"],
)
def test_an_image_that_needs_a_gpu_is_only_built_where_it_can_have_it(
    tmp_path: Path, runtimes: str, *, built: bool
) -> None:
    """It is gigabytes; elsewhere one sentence says where to measure instead."""
    calls, program = tmp_path / "calls", tmp_path / "docker"
    program.write_text(
        f"#!/bin/sh\necho $1 >> {calls}\n[ $1 != info ] || echo '{runtimes}'\n"
    )
    program.chmod(0o755)
    there, image = Engine(program=str(program)), container.IMAGES["jetson"]

    if built:
        assert there.build(image) == image.tag()
    else:
        with pytest.raises(DeviceError, match=r"no GPU here.*over SSH"):
            there.build(image)

    asked = calls.read_text(encoding="utf-8").split()
    assert asked == ["info", *(["image"] if built else [])]


def test_a_container_that_hangs_is_removed(tmp_path: Path) -> None:
    """By the name that it was started under."""
    script = '#!/bin/sh\necho "$@" >> {log}\n[ "$1" = run ] && exec sleep 60\nexit 0\n'
    there = Engine(program=str(stand_in(tmp_path, script=script)))

    with pytest.raises(DeviceError, match="no end after 1 s"):
        there.run(container.IMAGES["arm64"], "tag", [], models=tmp_path, patience_s=1)

    started, removed = (tmp_path / "calls.jsonl").read_text("utf-8").splitlines()
    name = started.split("--name ")[1].split()[0]
    assert removed == f"rm --force {name}"


def test_unknown_images_are_refused() -> None:
    """With those that are known."""
    with pytest.raises(EdgepressError, match="docker:arm64, docker:jetson"):
        device("docker:pdp11")


def test_an_image_needs_a_checkout() -> None:
    """An installed wheel has no Dockerfiles."""
    image = replace(container.IMAGES["arm64"], dockerfile="none.Dockerfile")
    with pytest.raises(EdgepressError, match="built from a checkout"):
        image.tag()
