"""TensorFlow to TFLite: the file answers as TensorFlow does, and nobody talks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from export.from_tensorflow import Dtype, to_tflite
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, MissingDependencyError, RecipeError
from runtime.preprocess import Preprocess
from runtime.session import open_session

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.filterwarnings("ignore")
keras = pytest.importorskip("keras", reason="the converter is TensorFlow's")
pytest.importorskip("tensorflow", reason="the converter is TensorFlow's")
ROOT = Path(__file__).parents[2]
PREPROCESS = Preprocess(size=16, resize=16, layout="NHWC")


def images(count: int = 64) -> npt.NDArray[np.float32]:
    """What the network is fed."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> object:
    """A small network with random weights."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


@pytest.fixture(scope="module", params=["net.keras", "net.h5", "folder"])
def saved(
    request: pytest.FixtureRequest,
    network: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """That network as each kind of file."""
    path = tmp_path_factory.mktemp("tf") / str(request.param)
    (network.save if path.suffix else network.export)(path)  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 1e-5), ("float16", 1e-3), ("int8", 0.02)]
)
def test_a_file_answers_as_tensorflow_does(
    saved: Path, network: object, dtype: Dtype, error: float, tmp_path: Path
) -> None:
    """Oracle: Keras; the error is a share of the largest score."""
    path = tmp_path / "net.tflite"

    artifact = to_tflite(
        saved,
        path,
        dtype=dtype,
        images=[images()[:40], images()[40:]],
        classes=tuple("abcde"),
        preprocess=PREPROCESS,
        trusted=saved.is_dir(),
    )

    assert Artifact.read(path) == artifact
    assert artifact.dtype == dtype
    assert artifact.preprocess == PREPROCESS
    session = open_session(artifact)
    expected = np.asarray(network(images(8)))  # type: ignore[operator]
    given = session.run(images(8))
    session.close()
    assert np.abs(given - expected).max() <= error * np.abs(expected).max()


def test_a_file_of_keras_2_converts_although_keras_3_does_not_load_it(
    shared_data: Path, tmp_path: Path
) -> None:
    """Keras 2.8 wrote `groups` for a DepthwiseConv2D; the oracle is our own network."""
    import torch

    from compress.models.keras.model import translated
    from compress.models.keras.net import KerasNet

    file = shared_data / "weights/mobilenet_v1_0.25_224.h5"
    found = translated(file)
    net = KerasNet(found.plan).eval()
    net.load_state_dict(found.state, strict=False)
    rng = np.random.default_rng(0)
    fed = rng.uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(fed).permute(0, 3, 1, 2)).softmax(1).numpy()

    session = open_session(to_tflite(file, tmp_path / "m.tflite", dtype="float32"))

    np.testing.assert_allclose(session.run(fed), expected, atol=1e-5)
    session.close()


def test_it_says_nothing(saved: Path, tmp_path: Path) -> None:
    """In a process of its own, for C++ writes to the descriptors themselves."""
    code = (
        "from pathlib import Path; from export.from_tensorflow import to_tflite;"
        "import numpy as np;"
        f"to_tflite(Path({str(saved)!r}), Path({str(tmp_path / 'a.tflite')!r}), "
        "dtype='int8', images=[np.zeros((2, 16, 16, 3), np.float32)], trusted=True); "
        "print('done')"
    )
    quiet = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=quiet,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_code_in_a_keras_file_is_not_run(tmp_path: Path) -> None:
    for name in ("code.keras", "code.h5"):
        entry = keras.Input((16, 16, 3))
        net = keras.Model(entry, keras.layers.Lambda(lambda x: x + 1)(entry))
        net.save(tmp_path / name)

        with pytest.raises(InputRejectedError, match="holds Python code"):
            to_tflite(tmp_path / name, tmp_path / "a.tflite", dtype="float32")
        assert not (tmp_path / "a.tflite").exists()


def test_what_tensorflow_does_not_load_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").write_bytes(b"nonsense")
    (tmp_path / "net.h5").write_bytes(b"nonsense")
    (tmp_path / "net.keras").write_bytes(b"nonsense")
    for name in ("folder", "net.h5", "net.keras"):
        with pytest.raises(InputRejectedError, match="does not convert it") as found:
            to_tflite(
                tmp_path / name, tmp_path / "a.tflite", dtype="float32", trusted=True
            )
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("model", "path", "dtype", "sentence"),
    [
        ("none.h5", "a.tflite", "float32", "no such file"),
        ("empty", "a.tflite", "float32", "lacks saved_model.pb"),
        ("net.pt", "a.tflite", "float32", "unknown kind of model"),
        ("net.h5", "a.onnx", "float32", "must end in .tflite"),
        ("net.h5", "a.tflite", "int8", "int8 needs images"),
    ],
)
def test_a_wrong_request_is_refused_before_tensorflow_loads(
    tmp_path: Path, model: str, path: str, dtype: Dtype, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("net.pt", "net.h5"):
        (tmp_path / name).touch()

    with pytest.raises(RecipeError, match=sentence):
        to_tflite(tmp_path / model, tmp_path / path, dtype=dtype)


def test_without_tensorflow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.h5").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)

    with pytest.raises(MissingDependencyError, match="pip install 'tensorflow-cpu>="):
        to_tflite(tmp_path / "net.h5", tmp_path / "a.tflite", dtype="float32")
