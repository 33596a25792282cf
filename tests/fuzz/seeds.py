"""Sound files of every format, and the commands that read each of them."""

import csv
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mutations
import numpy as np
import torch
from mutations import Mutation
from PIL import Image
from safetensors.torch import load_file

SIDE: Final = 32
RECIPE: Final = """\
name: small
model: {name: lenet5, width: 0.25}
data: {source: "folder:IMAGES", size: 32}
stages:
  - finetune: {epochs: 1}
  - ptq: {calib_images: 8}
export: {to: [onnx, tflite], dtype: [float32, int8]}
budget: {size_bytes: 10000000}
"""
MODEL: Final = ("--model", "lenet5", "--width", "0.25")


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A format: the file to spoil, below a folder that is copied, and who reads it.

    In commands, FOLDER stands for the copy, IMAGES for a data set, and RUN for a run.
    """

    folder: Path
    file: str
    commands: tuple[tuple[str, ...], ...]
    mutations: tuple[Mutation, ...] = (mutations.bytes_changed, mutations.head_changed)
    # What a command gives for a sound file: a network of one epoch may be at chance.
    fine: tuple[int, ...] = (0, 5)


def made(work: Path, only: Collection[str] = ()) -> Mapping[str, Seed]:
    """Every seed, made below `work`, in processes of their own; or `only` some.

    Threads of libraries at work would not survive the forks to come.
    """
    images = pictures(work / "images")
    data = ("--data", "folder:IMAGES", "--image-size", str(SIDE))
    run = work / "run"
    recipe = work / "recipe" / "recipe.yaml"
    recipe.parent.mkdir()
    text = RECIPE if _any("tflite", only) else RECIPE.replace(", tflite", "")
    recipe.write_text(text.replace("IMAGES", str(images)))
    _python("-m", "compress", "run", str(recipe), "--out", str(run), "-q")
    shutil.copy(recipe, work / "again.yaml")
    recipe.write_text(text.replace("IMAGES", "/no/such/folder"))
    records = (mutations.record_changed, mutations.bytes_changed)
    lines = (mutations.lines_changed, mutations.bytes_changed)
    stage = ("eval", "--model", "FOLDER", *data)
    whole = (("show", "FOLDER"), ("show", "FOLDER", "--json"), ("verify", "FOLDER"))
    found = {
        **_model_files(work, run, data, records),
        **_checkpoints(work, run, data),
        **(_keras_files(work, data) if {"h5", "keras"} & {*only} or not only else {}),
        "model.json": Seed(
            folder=run / "01-finetune",
            file="model.json",
            commands=(stage,),
            mutations=records,
        ),
        "model.json int8": Seed(
            folder=run / "02-ptq",
            file="model.json",
            commands=(stage,),
            mutations=records,
        ),
        "report.json": Seed(
            folder=run, file="report.json", commands=whole, mutations=records
        ),
        "recipe.yaml": Seed(
            folder=recipe.parent,
            file="recipe.yaml",
            commands=(("run", "FOLDER/recipe.yaml", "--out", "FOLDER/out"),),
            mutations=lines,
            fine=(2,),  # its data is nowhere, so nothing is trained
        ),
        **_data(work, images, lines),
    }
    for name in ("manifest.json", "events.jsonl", "recipe.yaml"):
        again = ("run", str(work / "again.yaml"), "--out", "FOLDER")
        found[f"{name} of a run"] = Seed(
            folder=run,
            file=name,
            commands=(("show", "FOLDER"), again),
            mutations=(mutations.bytes_changed,),
        )
    return {name: seed for name, seed in found.items() if not only or name in only}


def _any(part: str, names: Collection[str]) -> bool:
    """Whether any of `names` is about `part`; no names are all."""
    return not names or any(part in name for name in names)


def pictures(folder: Path, *, count: int = 12) -> Path:
    """A few images of three classes, some of them JPEG."""
    chance = np.random.default_rng(0)
    for number in range(count):
        path = folder / "abc"[number % 3] / f"{number}.{'png' if number % 2 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def _model_files(
    work: Path, run: Path, data: tuple[str, ...], records: tuple[Mutation, ...]
) -> dict[str, Seed]:
    """ONNX and TFLite files, alone and with their sidecars."""
    found = {}
    for path in sorted((run / "artifacts").glob("model-*.onnx")) + sorted(
        (run / "artifacts").glob("model-*.tflite")
    ):
        kind = path.suffix[1:] + (" int8" if "int8" in path.name else "")
        alone, both = work / f"{kind} alone", work / f"{kind} sidecar"
        alone.mkdir()
        both.mkdir()
        shutil.copy(path, alone)
        shutil.copy(path, both)
        shutil.copy(path.with_name(path.name + ".json"), both)
        file = f"FOLDER/{path.name}"
        judged = ("eval", "--model", file, *data)
        timed = ("profile", file, "--runs", "10")
        found[kind] = Seed(folder=alone, file=path.name, commands=(judged, timed))
        found[f"{kind}.json"] = Seed(
            folder=both,
            file=f"{path.name}.json",
            commands=(judged, timed),
            mutations=records,
        )
    return found


def _checkpoints(work: Path, run: Path, data: tuple[str, ...]) -> dict[str, Seed]:
    """Bare weights."""
    found = {}
    for ending in ("pt", "safetensors"):
        folder = work / ending
        folder.mkdir()
        source = run / "01-finetune" / "model.safetensors"
        if ending == "pt":
            torch.save({"state_dict": load_file(source), "epoch": 3}, folder / "w.pt")
        else:
            shutil.copy(source, folder / "w.safetensors")
        words = ("eval", *MODEL, "--weights", f"FOLDER/w.{ending}", *data)
        found[ending] = Seed(folder=folder, file=f"w.{ending}", commands=(words,))
    return found


def _keras_files(work: Path, data: tuple[str, ...]) -> dict[str, Seed]:
    """Keras files, where Keras is installed to write them."""
    from importlib.util import find_spec

    if find_spec("tensorflow") is None:
        return {}
    folder = work / "keras"
    folder.mkdir()
    code = (
        "import keras; n = keras.Sequential([keras.Input((32, 32, 3)), "
        "keras.layers.Conv2D(4, 3, strides=4, activation='relu'), "
        "keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D(), "
        "keras.layers.Dense(3)]); n.save('net.h5'); n.save('net.keras')"
    )
    _python("-c", code, folder=folder)
    return {
        ending: Seed(
            folder=folder,
            file=f"net.{ending}",
            commands=(("eval", "--model", f"FOLDER/net.{ending}", *data),),
        )
        for ending in ("h5", "keras")
    }


def _python(*words: str, folder: Path | None = None) -> None:
    """Run a program that must succeed, whatever a network of one epoch is worth."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 5}:
        raise SystemExit(f"fuzz: no sound files: {words}: {done.stderr[-500:]}")


def _data(work: Path, images: Path, lines: tuple[Mutation, ...]) -> dict[str, Seed]:
    """Images, alone and in archives, and lists of them."""
    judged = ("eval", "--model", "RUN/01-finetune", "--data")
    packed, listed = work / "zip", work / "csv"
    packed.mkdir()
    shutil.copytree(images, listed)
    files = sorted(path for path in images.rglob("*.*"))
    with zipfile.ZipFile(packed / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(images))
    with (listed / "list.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for number, path in enumerate(files):
            place = path.relative_to(images)
            split = "val" if number % 4 == 0 else "train"
            writer.writerow([place, place.parent.name, split])
    found = {
        "zip": Seed(
            folder=packed,
            file="images.zip",
            commands=((*judged, "FOLDER/images.zip"),),
        ),
        "csv": Seed(
            folder=listed,
            file="list.csv",
            commands=((*judged, "csv:FOLDER/list.csv"),),
            mutations=lines,
        ),
    }
    for ending in ("jpg", "png"):
        one = next(path for path in files if path.suffix == f".{ending}")
        found[ending] = Seed(
            folder=images,
            file=str(one.relative_to(images)),
            commands=((*judged, "folder:FOLDER"),),
        )
    return found
