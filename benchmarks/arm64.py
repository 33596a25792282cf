"""Model files on ARM cores without ARM hardware, held against this machine.

usage: python benchmarks/arm64.py [--folder DIR] [--images 2] [--cpus cortex-a72,…]
                                  [--out FILE]

`make arm` calls it. The files come from three runs of `compress`: MobileNetV2 (with
real weights and photographs where the folder of data is there), MobileNetV3-Large
(seeded), and a ResNet-20 that is pruned to half its MACs and then trained in INT8
(QAT); each in float and INT8, ONNX and TFLite. Each file is asked the same images on
this machine and on emulated cores, a Cortex-A72 (Raspberry Pi 4, no dot products) and
a Cortex-A76 (Raspberry Pi 5), in an arm64 Debian that is unpacked into the cache.
INT8 has to be equal to the bit, or within one step where the table says so;
float within 1e-5 of the largest score. An ONNX file for ARM is held against the same
run's file for this machine. No time is taken: it would say nothing.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from compress.devices.arm_answers import arm_answers, arm_checks
from runtime.answers import Answers, answers_of
from runtime.artifact import Artifact
from runtime.batch import Batch
from runtime.errors import Exit
from runtime.machine import this_machine
from runtime.target import int8_target

ROOT = Path(__file__).resolve().parents[1]
CPUS = ("cortex-a72", "cortex-a76")
FLOAT_ERROR = 1e-5  # of the largest score: other orders of a sum
PHOTOGRAPHS = 40
ARM = "arm64"  # the layout that files for ARM are named after


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file on one core, against this machine.

    against: the file that was asked here; error: largest difference of two scores as a
    share of the largest score; steps: the same in steps of the INT8 grid of the scores,
    None where they are float; selftest: how `--check` ended there.
    """

    net: str
    file: str
    against: str
    cpu: str
    dtype: str
    runtime: str
    images: int
    bit_equal: bool
    error: float
    steps: float | None
    same_class: float
    selftest: str

    @property
    def kept(self) -> bool:
        """Whether it holds what we say of it."""
        close = self.error <= FLOAT_ERROR
        if self.steps is not None:
            close = self.steps <= 1
        return (self.bit_equal or close) and self.selftest == "passed"


def shared() -> Path:
    """Where real images and weights are, if they are."""
    return Path(os.environ.get("EDGEPRESS_SHARED") or ROOT.parent / "shared/data")


def runs(folder: Path) -> Mapping[str, list[str]]:
    """What `compress` is told to make, by net."""
    files = ["--to", "onnx,tflite", "--dtype", "float32,int8", "--optimize", "none"]
    files += ["--target", f"generic-arm64,{int8_target(this_machine()).name}"]
    files += ["--quiet"]
    small = ["--data", "digits", "--val-fraction", "0.05", "--image-size"]
    quantize = ["quantize", "--calib-images", "32", "--ranges", "minmax"]
    weights = shared() / "weights/derived_mobilenet_v2_torchvision_keys.pt"
    real = ["--data", "digits", "--val-fraction", "0.05", "--image-size", "96"]
    if weights.is_file():
        val = photographs(shared() / "images/imagenet_val_a.zip", folder / "val")
        calib = shared() / "images/imagenet_sample_short256.zip"
        real = ["--weights", str(weights), "--data", f"csv:{val}"]
        real += ["--calib", str(calib)]
    return {
        "mobilenet_v2": [*quantize, "--model", "mobilenet_v2", *real, *files],
        "mobilenetv3_large": [
            *quantize,
            *("--model", "mobilenetv3_large_100", *small, "96", *files),
        ],
        "resnet20, pruned, QAT": ["run", str(recipe(folder)), "--quiet"],
    }


def recipe(folder: Path) -> Path:
    """A network that is trained, cut and trained again in INT8, as a recipe."""
    path = folder / "pruned-qat.json"  # JSON is YAML
    training = {"epochs": 2}
    record = {
        "name": "pruned-qat",
        "model": "resnet20",
        "data": {"source": "digits", "size": 32},
        "stages": [
            {"finetune": {**training, "learning_rate": 0.05}},
            {"prune": {**training, "macs": 0.5}},
            {"qat": {"epochs": 1}},
        ],
        "export": {
            "to": ["onnx", "tflite"],
            "dtype": ["float32", "int8"],
            "target": ["generic-arm64", int8_target(this_machine()).name],
            "optimize": "none",
        },
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def photographs(source: Path, to: Path) -> Path:
    """A list of the first few photographs of an archive, unpacked."""
    to.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive:
        lines = archive.read("labels.csv").decode().splitlines()
        rows = list(csv.reader(lines))[:PHOTOGRAPHS]
        for name, *_ in rows:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes(archive.read(name))
    listed = to / "labels.csv"
    with listed.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return listed


def made(folder: Path) -> Iterator[tuple[str, list[Artifact]]]:
    """The files of each run; a run that is there is not done again."""
    for net, words in runs(folder).items():
        out = folder / net.replace(", ", "-")
        print(f"making {net}: compress {' '.join(words)}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "compress", *words, "--out", str(out)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        paths = sorted((out / "artifacts").glob("model-*.onnx"))
        paths += sorted((out / "artifacts").glob("model-*.tflite"))
        if not paths or done.returncode not in {Exit.FIT, Exit.BUDGET}:
            sys.exit(f"{net}: compress ended with {done.returncode}")
        yield net, [Artifact.read(path) for path in paths]


def images_of(artifact: Artifact, count: int) -> Batch:
    """Smooth noise as pixels come, float32 [count, 3, size, size]."""
    rng = np.random.default_rng(0)
    if artifact.preprocess is None:
        sys.exit(f"{artifact.path}: says nothing of its input")
    size = artifact.preprocess.size
    coarse = rng.integers(0, 256, (count, 8, 8, 3))
    rows = np.arange(size) * 8 // size
    pixels = coarse[:, rows][:, :, rows] + rng.integers(-20, 21, (count, size, size, 3))
    return artifact.preprocess(np.clip(pixels, 0, 255).astype(np.uint8))


def rows_of(net: str, files: Sequence[Artifact], cpu: str, count: int) -> Iterator[Row]:
    """Ask every file here and there."""
    layout = int8_target(this_machine()).layout
    local = layout.name if layout else ARM
    there = [each for each in files if each.target in {None, ARM}]
    images = images_of(there[0], count)
    here = answers_of([each.path for each in files], images)
    given = arm_answers([each.path for each in there], images, cpu=cpu)
    tests = arm_checks([each.path for each in there], cpu=cpu)
    for each, sentence in zip(there, tests.sentences, strict=True):
        name = each.path.name
        tested = sentence if sentence in tests.failed else "passed"
        against = name.replace(f"-{ARM}.", f"-{local}.")
        yield row(net, each, cpu, here, given, against, tested)


def row(  # noqa: PLR0913, PLR0917  # both sides of a comparison, and what is told of it
    net: str,
    file: Artifact,
    cpu: str,
    here: Answers,
    there: Answers,
    against: str,
    selftest: str,
) -> Row:
    """Hold one file's scores against this machine's."""
    name = file.path.name
    want, have = here.scores[against], there.scores[name]
    error = float(np.abs(want - have).max())
    step = grid_step(want) if file.dtype == "int8" else None
    return Row(
        net=net,
        file=name,
        against=against,
        cpu=cpu,
        dtype=file.dtype or "",
        runtime=there.runtimes[name],
        images=len(want),
        bit_equal=bool((want == have).all()),
        error=error / float(np.abs(want).max()),
        steps=None if step is None else round(error / step, 3),
        same_class=float((want.argmax(1) == have.argmax(1)).mean()),
        selftest=selftest,
    )


def grid_step(scores: Batch) -> float | None:
    """The distance of neighbours on the grid that scores lie on; None without one."""
    values = np.unique(scores)
    gaps = np.diff(values)
    if len(gaps) == 0:
        return None
    step = float(gaps.min())
    fits = np.abs(gaps / step - np.rint(gaps / step)).max() < 1e-2
    return step if fits and len(values) <= 256 else None


def as_markdown(rows: Sequence[Row]) -> str:
    """The table for people."""
    lines = [
        "# Answers on emulated ARM cores, against this machine",
        "",
        "| net | file | core | same answers | largest difference | self-test |",
        "|---|---|---|---|---|---|",
    ]
    for each in rows:
        far = "none, to the bit" if each.bit_equal else f"{each.error:.1e}"
        if not each.bit_equal and each.steps is not None:
            far = f"{each.steps:g} INT8 steps"
        lines.append(
            f"| {each.net} | {each.file} | {each.cpu} | {each.same_class:.1%} of "
            f"{each.images} | {far} | {each.selftest} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Make, ask, compare; 1 if a file does not hold what we say of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--cpus", default=",".join(CPUS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for net, files in made(options.folder or Path(scratch)):
            for cpu in options.cpus.split(","):
                found = list(rows_of(net, files, cpu, options.images))
                print(as_markdown(found), flush=True)
                rows += found
    if options.out:
        record = {
            "machine": this_machine().as_record(),
            "rows": [{**asdict(each), "kept": each.kept} for each in rows],
        }
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(as_markdown(rows), encoding="utf-8")
    broken = [f"{each.file} on {each.cpu}" for each in rows if not each.kept]
    print("not kept: " + ", ".join(broken) if broken else "every file holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
