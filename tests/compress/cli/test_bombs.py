"""A small file that describes something huge ends in a sentence, soon and in little."""

import io
import json
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from compress.cli.main import main
from runtime.artifact import Artifact
from runtime.errors import Exit, InputRejectedError
from runtime.files import sha256_of

pytestmark = pytest.mark.usefixtures("own_cache")
Layer = dict[str, object]


@contextmanager
def within_reason() -> Iterator[None]:
    """Two seconds of work and a gigabyte are the most that a refusal takes."""
    began, before = time.process_time(), _peak_bytes()
    yield
    assert time.process_time() - began < 2
    assert _peak_bytes() - before < 1e9


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Ask `eval` for a file; give the sentence with which it is rejected."""
    main(["doctor"])  # what is imported once is not the file's doing
    main(["eval", "--model", "no_such_net"])
    capsys.readouterr()

    def run(name: Path) -> str:
        with within_reason():
            assert main(["eval", "--model", str(name), "-q"]) == Exit.REJECTED
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("compress: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run


def described(*middle: Layer, side: int = 8, **conv: object) -> str:
    """Image, `middle`, a 1x1 convolution, the mean: as Keras 2 writes it."""
    first = {
        "class_name": "InputLayer",
        "config": {"name": "image", "batch_input_shape": [None, side, side, 3]},
    }
    config = {"name": "conv", "kernel_size": [1, 1], **conv}
    layers = [
        first,
        *middle,
        {"class_name": "Conv2D", "config": config},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "mean"}},
    ]
    return json.dumps({"class_name": "Sequential", "config": {"layers": layers}})


def layer(kind: str, **options: object) -> Layer:
    """A layer without weights."""
    return {"class_name": kind, "config": {"name": kind.lower(), **options}}


def written(
    path: Path, description: str, fill: Callable[[h5py.Group], None] | None = None
) -> Path:
    """A .h5 file; `fill` makes the kernel of its convolution."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.8.0"
        file.attrs["model_config"] = description
        group = file.create_group("model_weights/conv")
        group.attrs["weight_names"] = ["conv/kernel:0", "conv/bias:0"]
        inner = group.create_group("conv")
        if fill is None:
            inner["kernel:0"] = np.ones((1, 1, 3, 4), np.float32)
        else:
            fill(inner)
        inner["bias:0"] = np.ones(4, np.float32)
    return path


def never_written(group: h5py.Group) -> None:
    """HDF5 gives the fill value for what was never written."""
    group.create_dataset("kernel:0", (1, 1, 3, 100_000_000), "f4", chunks=True)


def packed(group: h5py.Group) -> None:
    """A hundred million zeros, as gzip packs them."""
    shape, chunk = (1, 1, 3, 10_000_000), (1, 1, 3, 1_000_000)
    made = group.create_dataset(
        "kernel:0", shape, "f4", chunks=chunk, compression="gzip"
    )
    made[0, 0, :, :1_000_000] = 0


def absurd(group: h5py.Group) -> None:
    """More bytes than addresses."""
    group.create_dataset("kernel:0", (1 << 20,) * 4, "f8", chunks=(1, 1, 1, 8))


@pytest.mark.parametrize("fill", [never_written, packed, absurd])
def test_weights_that_are_announced_and_not_there(
    tmp_path: Path, refused: Callable[..., str], fill: Callable[[h5py.Group], None]
) -> None:
    path = written(tmp_path / "a.h5", described(), fill)

    assert path.stat().st_size < 1_000_000
    told = refused(path)
    assert "'conv': " in told
    assert "announce" in told or "too large" in told


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        (described(layer("ZeroPadding2D", padding=100_000)), "numbers of one image"),
        (described(layer("UpSampling2D", size=[9999, 9999])), "numbers of one image"),
        (described(layer("ZeroPadding2D", padding=10**18)), ""),
        (described(layer("UpSampling2D", size=[10**15, 10**15])), ""),
        (described(side=10**9), "of up to 4096 pixels"),
        (described(groups=0), "conv"),
        (described(groups=10**12), ""),
        (described(strides=[0, 0]), ""),
        ("[" * 30_000, "nested deeper"),
        ('{"class_name": ' + "9" * 5000 + "}", "a number of 5000 digits"),
    ],
)
def test_layers_that_make_more_of_an_image_than_memory_holds(
    tmp_path: Path, refused: Callable[..., str], description: str, sentence: str
) -> None:
    assert sentence in refused(written(tmp_path / "a.h5", description))


def test_a_keras_file_that_unpacks_to_far_more(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", described())
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(6):
                member.write(bytes(50_000_000))

    assert path.stat().st_size < 2_000_000
    assert "model.weights.h5 has 300000000 bytes; allowed: " in refused(path)


def test_a_zip_of_a_million_names(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Its list alone would fill memory; so would that behind a TFLite file."""
    listed = io.BytesIO()
    with zipfile.ZipFile(listed, "w") as archive:
        archive.writestr("a", "")
    whole = listed.getvalue()
    start = whole.index(b"PK\x01\x02")
    end = bytearray(whole[whole.index(b"PK\x05\x06") :])
    entry = whole[start : whole.index(b"PK\x05\x06")]
    end[12:16] = (len(entry) * 100_000).to_bytes(4, "little")
    bomb = whole[:start] + entry * 100_000 + bytes(end)
    (tmp_path / "a.keras").write_bytes(bomb)
    (tmp_path / "a.tflite").write_bytes(b"\0\0\0\0TFL3" + bomb)

    for name in ("a.keras", "a.tflite"):
        assert "lists its members in" in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (b" " * 200_000_000, "has 200000000 bytes"),
        (b'{"preprocess": {"size": 1e999}}', "no number that a computer has"),
        (
            b'{"preprocess": {"size": 8, "resize": 8, "std": [0, 1, 1]}}',
            r"std\[0\] is 0",
        ),
        (b'{"classes": ["a", 5]}', r"classes\[1\] is 5; allowed: a text"),
        (b'{"dtype": "int4"}', "dtype is 'int4'; allowed: float32"),
        (b'{"versions": {"torch": NaN}}', "NaN is no number"),
        (b"[" * 100_000, "nested deeper"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_the_facts_behind_a_tflite_file(
    tmp_path: Path, facts: bytes, sentence: str
) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("edgepress.json", facts)

    with within_reason(), pytest.raises(InputRejectedError, match=sentence):
        Artifact.read(path)


def saved(folder: Path, **changes: object) -> Path:
    """A folder such as a stage leaves, with one number in it."""
    folder.mkdir()
    save_file({"a": np.zeros(1, np.float32)}, folder / "model.safetensors")
    record = {
        "format": 1,
        "spec": {"name": "resnet50"},
        "factory": None,
        "classes": ["a", "b"],
        "preprocess": {"size": 32, "resize": 32},
        "sha256": sha256_of(folder / "model.safetensors"),
    }
    (folder / "model.json").write_text(json.dumps(record | changes), encoding="utf-8")
    return folder


def plan(kind: str, **options: object) -> dict[str, object]:
    """A network of one layer, as a saved Keras model keeps it."""
    step = {"name": "s", "kind": kind, "module": "s", "inputs": ["(image)"]}
    steps = [step | {"options": options}]
    return {"steps": steps, "output": "s", "outputs": 2, "side": 32}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"spec": {"name": "wide_resnet101_2", "width": 8.0}}, "holds 1"),
        ({"spec": {"name": "lenet5", "width": 1e9}}, "width"),
        ({"preprocess": {"size": 10**9, "resize": 8}}, "size is 1000000000; allowed"),
        ({"keras": plan("linear", in_features=10**6, out_features=10**6)}, "holds 1"),
        ({"keras": plan("linear", in_features=10**18, out_features=10**18)}, "keras"),
        ({"keras": plan("pad", padding=10**5)}, "numbers of one image"),
        ({"keras": plan("conv", in_channels=3, out_channels=3, kernel_size=-1)}, ""),
        ({"keras": plan("linear", device="cuda", in_features=1, out_features=1)}, ""),
        ({"surgery": {"widths": {"a": {"counts": {"b": -1}}}}}, "surgery"),
        ({"int8": {"activations": 5, "left_float": []}}, "int8.activations is 5"),
    ],
)
def test_a_model_record_that_its_tensors_do_not_fill(
    tmp_path: Path,
    refused: Callable[..., str],
    changes: dict[str, object],
    sentence: str,
) -> None:
    assert sentence in refused(saved(tmp_path / "m", **changes))
