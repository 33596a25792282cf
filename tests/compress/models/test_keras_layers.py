"""Each layer of Keras, translated, gives what TensorFlow gives: small random models."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.models.keras.model import translated
from compress.models.keras.net import KerasNet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
keras = pytest.importorskip("keras", reason="TensorFlow is the oracle here")
L = keras.layers

# What makes a layer, or a function of a layer's output.
Layers = Callable[[], Callable[[object], object]]


def residual(x: object) -> object:
    """Two branches, joined in every way there is."""
    y = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    z = L.Conv2D(4, 1, use_bias=False)(x)
    joined = [L.Add()([y, z]), L.Multiply()([y, z]), L.Average()([y, z, y])]
    joined += [L.Maximum()([y, z]), L.Subtract()([y, z]), L.Minimum()([y, z])]
    return L.Concatenate()(joined)


def excited(x: object) -> object:
    """Squeeze and excitation, with a gate that is a row of numbers."""
    gate = L.GlobalAveragePooling2D()(x)
    return L.Multiply()([x, L.Dense(3, activation="hard_sigmoid")(gate)])


def nested(x: object) -> object:
    """A model in a model in a model; the middle one is called twice."""
    inner = keras.Sequential(
        [L.Conv2D(3, 3, padding="same"), L.BatchNormalization(), L.ReLU(6.0)]
    )
    entry = keras.Input((9, 9, 3))
    middle = keras.Model(entry, L.Add()([inner(entry), entry]))
    return middle(middle(x))


def shared(x: object) -> object:
    """One layer at work twice."""
    layer = L.Conv2D(3, 3, padding="same", activation="swish")
    return layer(layer(x))


def arithmetic(x: object) -> object:
    """Operators of Python, as MobileNetV3 of keras.applications has them."""
    return (1.0 - x / 127.5) * L.ReLU(6.0)(x + 3.0) * (1 / 6)


def adapted(x: object) -> object:
    """A Normalization that has seen images, in training's stead."""
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(1).uniform(0, 255, (8, 9, 9, 3)))
    return layer(x)


def normal_row(x: object) -> object:
    """Statistics of a row of numbers."""
    return L.BatchNormalization()(L.Flatten()(x))


def three_axes(x: object) -> object:
    """Neither an image nor a row."""
    return L.Dense(4)(L.Reshape((27, -1))(x))


def dropped(x: object) -> object:
    """Nothing, after the training."""
    return L.SpatialDropout2D(0.5)(L.Dropout(0.5)(x))


def augmented(x: object) -> object:
    """Nothing either."""
    return L.RandomFlip()(L.GaussianNoise(0.5)(x))


ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "sigmoid", "hard_sigmoid"),
    *("silu", "hard_swish", "softplus", "tanh", "linear"),
)
CASES: dict[str, Layers] = {
    "same, stride 2": lambda: L.Conv2D(5, 3, strides=2, padding="same"),
    "same, even kernel": lambda: L.Conv2D(5, (2, 4), padding="same"),
    "same, dilated": lambda: L.Conv2D(5, 3, padding="same", dilation_rate=2),
    "same, kernel below stride": lambda: L.Conv2D(4, 1, strides=2, padding="same"),
    "groups": lambda: L.Conv2D(6, 3, groups=3),
    "depthwise": lambda: L.DepthwiseConv2D(
        3, strides=2, padding="same", depth_multiplier=2, activation="relu6"
    ),
    "separable": lambda: L.SeparableConv2D(
        5, 3, strides=2, padding="same", depth_multiplier=2, activation="tanh"
    ),
    "separable without bias": lambda: L.SeparableConv2D(5, 3, use_bias=False),
    "norm": lambda: L.BatchNormalization(epsilon=1e-2),
    "norm without scale": lambda: L.BatchNormalization(scale=False),
    "norm without center": lambda: L.BatchNormalization(center=False),
    "norm of a row": lambda: normal_row,
    "relu with all options": lambda: L.ReLU(max_value=1.5, negative_slope=0.2),
    "relu with a ceiling": lambda: L.ReLU(max_value=2.0),
    "leaky": lambda: L.LeakyReLU(negative_slope=0.15),
    "softmax of channels": L.Softmax,
    "softmax of rows": lambda: L.Activation("softmax"),
    "max pool": lambda: L.MaxPooling2D(3, strides=2),
    "max pool, same": lambda: L.MaxPooling2D(3, strides=2, padding="same"),
    "max pool, same, 2": lambda: L.MaxPooling2D(2, padding="same"),
    "max pool, same, oblong": lambda: L.MaxPooling2D((4, 1), 2, padding="same"),
    "average pool": lambda: L.AveragePooling2D((2, 3)),
    "average pool, same": lambda: L.AveragePooling2D(3, 2, padding="same"),
    "average pool, same, 4": lambda: L.AveragePooling2D(4, 3, padding="same"),
    "global average": L.GlobalAveragePooling2D,
    "global average, kept": lambda: L.GlobalAveragePooling2D(keepdims=True),
    "global max": L.GlobalMaxPooling2D,
    "zeros around": lambda: L.ZeroPadding2D(((0, 1), (2, 3))),
    "cropped": lambda: L.Cropping2D(((0, 1), (2, 3))),
    "flat": L.Flatten,
    "reshaped": lambda: L.Reshape((3, 9, 9)),
    "reshaped to three axes": lambda: three_axes,
    "dense on pixels": lambda: L.Dense(4, activation="relu"),
    "dropout": lambda: dropped,
    "rescaled": lambda: L.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]),
    "normalized": lambda: L.Normalization(mean=[1, 2, 3.0], variance=[1, 4, 9.0]),
    "normalized as seen": lambda: adapted,
    "augmented": lambda: augmented,
    "larger": lambda: L.UpSampling2D((2, 3)),
    "larger, smooth": lambda: L.UpSampling2D(2, interpolation="bilinear"),
    "residual": lambda: residual,
    "excited": lambda: excited,
    "nested": lambda: nested,
    "shared": lambda: shared,
    "arithmetic": lambda: arithmetic,
} | {name: lambda name=name: L.Activation(name) for name in ACTIVATIONS}


def model_of(layers: Layers, side: int) -> object:
    """A classifier around some layers, every weight drawn at random."""
    image = keras.Input((side, side, 3))
    scores = L.Dense(4, name="scores")(L.Flatten()(layers()(image)))
    model = keras.Model(image, L.Softmax()(scores))
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, L.Normalization | keras.Model):
            for weight in layer.weights:
                if "float" in str(weight.dtype):
                    weight.assign(rng.uniform(0.1, 0.9, weight.shape) * 0.5)
    return model


@pytest.fixture(autouse=True)
def _read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras wrote these files a moment ago; test_hdf5.py has those that do harm."""
    monkeypatch.setattr("export.hdf5.contained", lambda *_, **__: None)


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("case", CASES)
def test_a_layer_gives_what_tensorflow_gives(
    case: str, ending: str, tmp_path: Path
) -> None:
    """Oracle: Keras, on its own model; odd and even sides pad differently."""
    for side in (9,) if case in {"nested", "reshaped"} else (9, 10):
        if case == "reshaped to three axes" and side != 9:
            continue
        model = model_of(CASES[case], side)
        path = tmp_path / f"{side}.{ending}"
        model.save(path)
        images = np.random.default_rng(2).normal(size=(3, side, side, 3)) * 2
        expected = keras.Model(model.input, model.get_layer("scores").output)(
            images.astype(np.float32), training=False
        )

        found = translated(path)
        net = KerasNet(found.plan).eval()
        missing = net.load_state_dict(found.state, strict=False).missing_keys
        with torch.inference_mode():
            given = net(torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2))

        assert all(name.endswith("num_batches_tracked") for name in missing)
        assert found.dropped is not None
        np.testing.assert_allclose(
            given.numpy(), np.asarray(expected), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", "EfficientNetB0", "DenseNet121", "NASNetMobile"]
)
@pytest.mark.slow
def test_networks_of_keras_applications_are_translated(
    name: str, tmp_path: Path
) -> None:
    """Oracle: Keras; random weights, and running statistics as drawn."""
    model = getattr(keras.applications, name)(weights=None, classes=7)
    model.save(tmp_path / "net.keras")
    images = np.random.default_rng(2).uniform(0, 255, (2, 224, 224, 3))
    images = images.astype(np.float32)

    found = translated(tmp_path / "net.keras")
    net = KerasNet(found.plan).eval()
    net.load_state_dict(found.state, strict=False)
    with torch.inference_mode():
        scores = net(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1)

    np.testing.assert_allclose(
        scores.numpy(), np.asarray(model(images)), rtol=1e-4, atol=1e-4
    )
