"""Images as people have them, by the command line: depth, EXIF, foreign formats."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from compress.cli.main import main
from runtime.artifact import Artifact
from runtime.errors import Exit

pytestmark = pytest.mark.usefixtures("own_cache")

Draw = Callable[..., Path]


def test_deep_images_are_used_and_those_without_a_scale_skipped_with_a_reason(
    tmp_path: Path,
    draw_folder: Draw,
    network: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the held-out fifth, one is a mask of twelve shades and the rest 12 bits deep.

    The oracle is the same set in 8 bits, without the mask: as many right answers.
    """
    data = draw_folder(tmp_path / "data" / "val")
    plain = draw_folder(tmp_path / "plain" / "val")
    for path in sorted(data.rglob("*.png")):
        gray = Image.open(path).convert("L")
        gray.save(plain / path.relative_to(data))
        Image.fromarray(np.asarray(gray).astype(np.uint16) * 16).save(path)
    mask = data / "a/0.png"
    Image.fromarray(np.full((32, 32), 12, np.uint16)).save(mask)
    (plain / "a/0.png").unlink()

    answers = []
    for folder in (data, plain):
        words = ["eval", "--model", str(network), "--data", f"folder:{folder.parent}"]
        assert main([*words, "--json"]) == Exit.FIT
        printed = capsys.readouterr()
        answers.append(json.loads(printed.out))
        if folder is data:
            assert "val/a/0.png (has no value above 12, so its scale" in printed.err
            assert "39 images read as 12 bits" in printed.err
    assert answers[0] == answers[1]
    assert answers[0]["images"] == 39


def test_an_eps_named_jpg_starts_no_program(
    tmp_path: Path,
    draw_folder: Draw,
    network: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow hands EPS to whatever `gs` is on the path; ours would leave its mark."""
    mark, programs = tmp_path / "started", tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {mark}\necho 10\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    started: list[object] = []
    begin = subprocess.Popen.__init__

    def noted(self: object, *words: object, **options: object) -> None:
        started.append(words)
        begin(self, *words, **options)  # type: ignore[arg-type,call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    data = draw_folder(tmp_path / "data" / "val", images=1).parent
    (data / "val/a/1.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n"
        "showpage\n%%EOF\n"
    )

    code = main(["eval", "--model", str(network), "--data", f"folder:{data}"])

    assert code == Exit.FIT
    assert "a/1.jpg (cannot identify image file)" in capsys.readouterr().err
    assert not mark.exists()
    assert started == []


@pytest.mark.parametrize("flag", ["--exif", "--no-exif"])
def test_exif_is_obeyed_in_training_and_evaluation_and_its_use_is_in_the_files(
    flag: str,
    tmp_path: Path,
    draw_folder: Draw,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Photographs taken with the camera held on its side, and a contract that says so.

    The oracle is the set as it shall be seen, without tags: the same weights, and as
    many right answers of each file.
    """
    data = draw_folder(tmp_path / "data")
    by_hand = draw_folder(tmp_path / "by_hand")
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = 6
    for path in data.rglob("*.png"):
        Image.open(path).save(path, exif=tag)
        if flag == "--exif":
            seen = by_hand / path.relative_to(data)
            Image.open(seen).transpose(Image.Transpose.ROTATE_270).save(seen)
    words = ["--model", "lenet5", "--epochs", "1", "--to", "onnx,tflite", "-q"]
    weights, answers = [], []

    for place in (data, by_hand):
        source = ["--data", f"folder:{place}", "--image-size", "32", flag]
        out = tmp_path / f"run-{place.name}"
        code = main(["finetune", *words, *source, "--out", str(out)])
        assert code in (Exit.FIT, Exit.BUDGET)  # an epoch may not be enough
        weights.append((out / "01-finetune/model.safetensors").read_bytes())
        assert f"exif: {str(flag == '--exif').lower()}" in (
            out / "recipe.yaml"
        ).read_text(encoding="utf-8")
        files = [*(out / "artifacts").glob("model-*.onnx")]
        files += (out / "artifacts").glob("model-*.tflite")
        assert len(files) == 2
        for file in files:
            facts = json.loads(file.with_name(f"{file.name}.json").read_text())
            assert facts["preprocess"]["exif"] is (flag == "--exif")
            file.with_name(f"{file.name}.json").unlink()  # the file knows it, too
            assert Artifact.read(file).preprocess.exif is (flag == "--exif")  # type: ignore[union-attr]
            capsys.readouterr()
            asked = ["eval", "--model", str(file), "--data", f"folder:{place}"]
            assert main([*asked, "--json"]) == Exit.FIT
            printed = capsys.readouterr()
            answers.append(json.loads(printed.out))
            assert ("turned upright by EXIF" in printed.err) is (
                flag == "--exif" and place == data
            )
    assert weights[0] == weights[1]
    assert answers[0] == answers[1] == answers[2] == answers[3]
