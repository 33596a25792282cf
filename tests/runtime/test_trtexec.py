"""trtexec spoken to in both dialects, and what it writes read; a stand-in plays it."""

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.artifact import Artifact
from runtime.backends import trtexec, trtexec_words
from runtime.backends.table import BACKENDS, ran_by
from runtime.backends.trtexec_files import read_layers, read_times
from runtime.backends.trtexec_words import Dialect
from runtime.errors import (
    DeviceError,
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
)
from runtime.layer_times import layer_table
from runtime.plan import Plan
from runtime.profiling import profile_files
from runtime.reading import read_profile

# What TensorRT 10's and 11's programs know (NVIDIA's help texts), as far as we ask;
# words that 11 takes with a warning, since it does so by itself, are not among its own.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

version, log = "{version}", Path("{log}")
print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{{version}}] [b26] # trtexec")
print("[11/27/2026-12:00:00] [I] === Device Information ===")
print("[11/27/2026-12:00:00] [I] Selected Device: Orin")
print("[11/27/2026-12:00:00] [I] Compute Capability: 8.7")
both = {{"onnx", "saveEngine", "loadEngine", "skipInference", "profilingVerbosity",
        "warmUp", "duration", "iterations", "percentile", "exportTimes",
        "exportProfile", "exportLayerInfo", "stronglyTyped"}}
old = {{"int8", "fp16", "noDataTransfers", "useCudaGraph", "useSpinWait",
       "separateProfileRun"}}
known = both | (old if version < "11" else {{"cpuOnly"}})
words = dict(w.removeprefix("--").partition("=")[::2] for w in sys.argv[1:])
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:]) + chr(10))
for word in words:
    if word not in known:
        sys.exit(f"[E] Unknown option: --{{word}}")
if words.get("onnx") == os.devnull:
    sys.exit("[E] Failed to parse onnx file")
if "onnx" in words:
    if b"refuse me" in Path(words["onnx"]).read_bytes():
        sys.exit("[E] Assertion failed: zero point is not 0")
    Path(words["saveEngine"]).write_bytes(b"engine")
if "loadEngine" in words:
    assert Path(words["loadEngine"]).read_bytes() == b"engine"
    print("[I] Engine deserialized in 0.0125 sec.")
if "exportTimes" in words:
    Path(words["exportTimes"]).write_text(Path("{times}").read_text())
if "exportProfile" in words:
    Path(words["exportProfile"]).write_text(Path("{profile}").read_text())
    Path(words["exportLayerInfo"]).write_text(Path("{layers}").read_text())
"""

TIMES = [
    {
        "startEnqMs": index * 0.8,
        "endEnqMs": index * 0.8 + 0.01,
        "latencyMs": 0.78 + 0.001 * (index % 7),
        "computeMs": 0.78 + 0.001 * (index % 7),
        "h2dMs": 0.0,
        "d2hMs": 0.0,
    }
    for index in range(240)
]
PROFILE = [
    {"count": 50},
    {
        "name": "stem/Conv + stem/Clip",
        "timeMs": 3.0,
        "averageMs": 0.06,
        "medianMs": 0.06,
        "percentage": 60.0,
    },
    {
        "name": "head/Gemm",
        "timeMs": 2.0,
        "averageMs": 0.04,
        "medianMs": 0.04,
        "percentage": 40.0,
    },
]
LAYERS = {
    "Layers": [
        {
            "Name": "stem/Conv + stem/Clip",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "image", "Format/Datatype": "Int8 NC/32HW32"}],
            "Outputs": [{"Name": "x", "Format/Datatype": "Int8 NC/32HW32"}],
            "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8",
        },
        {
            "Name": "head/Gemm",
            "LayerType": "CaskGemmMatrixMultiply",
            "Inputs": [{"Name": "x", "Format/Datatype": "Half Row major linear"}],
            "Outputs": [{"Name": "logits", "Format/Datatype": "Float Row major"}],
            "TacticName": "",
        },
    ],
    "Bindings": ["image", "logits"],
}


class Screen:
    """Hears what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tell(self, sentence: str) -> None:
        """Keep one sentence."""
        self.said.append(sentence)


class Bench:
    """A machine with a trtexec of some version, and a file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put folders where the program and the cache are looked for."""
        self.folder = folder
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr(trtexec_words, "_PLACES", ())
        (folder / "bin").mkdir()
        for name, content in (
            ("times", TIMES),
            ("profile", PROFILE),
            ("layers", LAYERS),
        ):
            (folder / f"{name}.json").write_text(json.dumps(content))

    def install(self, version: str) -> None:
        """Put a trtexec there that speaks as `version` does, such as 100300."""
        program = self.folder / "bin/trtexec"
        files = {name: self.folder / f"{name}.json" for name in ("times", "profile")}
        program.write_text(
            STAND_IN.format(
                python=sys.executable,
                version=version,
                log=self.folder / "log",
                layers=self.folder / "layers.json",
                **files,
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def artifact(self, content: bytes = b"\x08\x08:\x00") -> Artifact:
        """An INT8 ONNX file, as far as trtexec is concerned."""
        path = self.folder / "net.onnx"
        path.write_bytes(content)
        return replace(Artifact.read(path), dtype="int8")

    @property
    def asked(self) -> list[str]:
        """The words of each call but those that ask who it is."""
        lines = (self.folder / "log").read_text().splitlines()
        return [line for line in lines if "--onnx=/dev/null" not in line]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A machine without trtexec."""
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("version", "name"), [("100300", "trtexec 10.3.0"), ("110002", "trtexec 11.0.2")]
)
def test_both_dialects_time_a_file_and_its_layers(
    bench: Bench, version: str, name: str
) -> None:
    """The stand-in refuses words that its version does not know."""
    bench.install(version)
    artifact = bench.artifact()

    profile = profile_files([artifact.path], Plan(runtime="trtexec"), Screen())

    (found,) = profile.measurements
    assert found.runtime == name
    assert ran_by("trtexec", found.runtime)
    assert len(found.samples_ns) == len(TIMES)
    assert found.p50_ms == pytest.approx(0.783, abs=0.001)
    assert found.load_ms == pytest.approx(12.5)
    assert found.layers is not None
    assert [each.computes_in for each in found.layers] == ["int8", "half"]
    assert [each.share for each in found.layers] == pytest.approx([0.6, 0.4])
    assert "2 layers: half 40%, int8 60% of the time" in profile.as_text()
    (again,) = read_profile(profile.as_json(), source="back").measurements
    assert (again.samples_ns, again.layers) == (found.samples_ns, found.layers)


def test_what_eleven_does_by_itself_is_not_asked_for(bench: Bench) -> None:
    """It warns of such words; ten is told to be quiet and to take INT8."""
    bench.install("110000")
    trtexec.opened("net").timed(bench.artifact(), runs=200, seconds=None)
    new = " ".join(bench.asked)
    bench.install("100300")
    trtexec.opened("net").timed(bench.artifact(), runs=200, seconds=None)
    old = " ".join(bench.asked)[len(new) :]

    for word in ("--int8", "--fp16", "--noDataTransfers", "--useCudaGraph"):
        assert word not in new.split()
        assert word in old.split()


def test_an_engine_is_built_once_for_a_gpu_a_version_and_a_file(bench: Bench) -> None:
    """Another TensorRT or another file builds anew; the same again loads."""
    bench.install("100300")
    first = trtexec.opened("net").engine(bench.artifact())
    assert trtexec.opened("net").engine(bench.artifact()) == first
    assert len(bench.asked) == 1
    other_file = trtexec.opened("net").engine(bench.artifact(b"\x08\x09:\x00"))
    bench.install("110000")
    other_version = trtexec.opened("net").engine(bench.artifact())

    assert len({first, other_file, other_version}) == 3
    assert {each.suffix for each in first.parent.iterdir()} == {".engine"}


def test_a_file_that_tensorrt_refuses_is_said_with_its_words(bench: Bench) -> None:
    """Its first error, not its last line."""
    bench.install("100300")

    with pytest.raises(DeviceError, match=r"trtexec 10\.3\.0 fails.*zero point"):
        trtexec.opened("net").engine(bench.artifact(b"\x12\x09refuse me:\x00"))
    assert not list((bench.folder / "cache").rglob("*.engine"))


def test_without_trtexec_it_is_said_where_it_comes_from(bench: Bench) -> None:
    """JetPack has it."""
    with pytest.raises(MissingDependencyError, match="comes with JetPack"):
        trtexec.interpreter(bench.artifact().path)


def test_it_gives_no_answers_and_compares_nothing(bench: Bench) -> None:
    """It is no Session."""
    bench.install("100300")
    artifact = bench.artifact()

    with pytest.raises(RecipeError, match="gives no answers"):
        BACKENDS["trtexec"].session(artifact, threads=1)
    plan = Plan(runtime="trtexec", compare=True)
    with pytest.raises(RecipeError, match="leave out --compare"):
        profile_files([artifact.path, artifact.path], plan, Screen())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '[{"computeMs": 1.0}]',
        '[{"latencyMs": -1}]',
        '[{"latencyMs": "1"}]',
        "[1]",
        "nonsense",
    ],
)
def test_times_that_are_none_are_refused(text: str) -> None:
    """Files from a device are anything."""
    with pytest.raises(InputRejectedError, match="times"):
        read_times(text, source="times")


def test_layers_without_details_are_times_alone() -> None:
    """An engine that was built without --profilingVerbosity=detailed."""
    layers = json.dumps({"Layers": ["stem/Conv + stem/Clip", "head/Gemm"]})

    found = read_layers(json.dumps(PROFILE), layers, source="net")

    assert [each.operator for each in found] == ["", ""]
    assert [each.computes_in for each in found] == ["?", "?"]
    with pytest.raises(InputRejectedError, match="no time of a layer"):
        read_layers('[{"count": 1}]', layers, source="net")


def test_the_table_of_layers_says_what_takes_the_time() -> None:
    """The slowest first, and the share of each kind of number."""
    found = read_layers(json.dumps(PROFILE), json.dumps(LAYERS), source="net")

    lines = layer_table(found).splitlines()

    assert lines[1].split()[-2:] == ["60.0%", "int8"]
    assert lines[-1] == "2 layers: half 40%, int8 60% of the time"
    assert max(map(len, lines)) <= 80


def test_versions_are_read_as_they_are_written() -> None:
    """Two digits a part from 10 on, one before."""
    assert [trtexec._version(each) for each in ("8502", "100300", "101602")] == [
        (8, 5, 2),
        (10, 3, 0),
        (10, 16, 2),
    ]
    assert not Dialect((10, 16, 2)).strongly_typed
