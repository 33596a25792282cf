"""From a spec to a model: sizes, stems, widths, heads, weights and chance."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compress.context.console import Console
from compress.evaluation.costs import count_macs, count_params
from compress.models import meta
from compress.models.build import build, fits, skeleton
from compress.models.names import resolve
from compress.models.sizing import choose_size, preprocess_for
from compress.models.spec import ModelSpec
from runtime.errors import InputRejectedError, RecipeError

TEN = tuple("abcdefghij")


def chosen(spec: ModelSpec, console: Console, *, native: int | None) -> int:
    """The input side for images of `native` pixels."""
    found = resolve(spec.name)
    return choose_size(spec, found, size=None, native_size=native, console=console)


@pytest.mark.parametrize(
    ("name", "native", "expected"),
    [
        ("resnet18", 8, 48),  # stride 32: 32 gives 1x1, 48 gives 2x2
        ("mobilenetv3", 32, 48),
        ("mobilenetv3", 64, 64),
        ("mobilenetv3", 227, 224),
        ("mobilenetv3", None, 224),
        ("vgg16", 32, 64),  # five poolings that round down
        ("inception_v3", 32, 112),  # no padding in the stem
        ("coatnet", 32, 64),
        ("lenet5", 8, 32),
        ("resnet20", 227, 32),
    ],
)
def test_the_input_size_follows_the_images(
    name: str, native: int | None, expected: int, console: Console
) -> None:
    """The rule of `choose_size`, worked out by hand for each stem."""
    assert chosen(ModelSpec(name=name), console, native=native) == expected


def test_the_last_map_has_two_pixels_at_the_chosen_size_and_one_below(
    console: Console,
) -> None:
    """Oracle: the shape that timm itself gives out before its pooling."""
    size = chosen(ModelSpec(name="resnet18"), console, native=8)
    with torch.device("meta"):
        net = skeleton(ModelSpec(name="resnet18"), classes=10, size=size).eval()

    assert net.forward_features(meta.images(1, size)).shape[-1] == 2
    assert net.forward_features(meta.images(1, size - 16)).shape[-1] == 1


def test_an_adapted_size_is_told_with_its_reason(
    console: Console, told: Callable[[], str]
) -> None:
    """The user hears which resolution is used, and why."""
    chosen(ModelSpec(name="resnet18"), console, native=8)

    assert "resnet18: input 48x48, not 224x224: images are 8 pixels" in told()


def test_the_resolution_multiplier_gives_a_multiple_of_eight(console: Console) -> None:
    """224 * 0.7 = 156.8, and 160 is the nearest multiple of 8."""
    spec = ModelSpec(name="mobilenetv2", resolution=0.7)

    assert chosen(spec, console, native=None) == 160


def test_a_size_below_the_least_is_refused_with_the_next_that_works(
    console: Console,
) -> None:
    """Inception-v3 needs 75 pixels (torchvision's `min_size`); 80 is the next step."""
    with pytest.raises(RecipeError, match="next size that works is 80"):
        build(
            ModelSpec(name="inception_v3"),
            classes=TEN,
            native_size=None,
            size=64,
            seed=0,
            console=console,
        )


@pytest.mark.parametrize(
    ("name", "shrunk"),
    [
        ("resnet18", 4),  # stride 2 and pooling 2
        ("densenet121", 4),
        ("torchvision/googlenet", 4),
        ("mobilenetv3", 2),
        ("convnext_tiny", 4),
    ],
)
def test_a_small_stem_keeps_maps_larger_by_the_strides_it_drops(
    name: str, shrunk: int
) -> None:
    """The last map at 128 pixels with the small stem is that at `shrunk` * 128."""
    sides = []
    for stem, size in (("small", 128), ("keep", 128 * shrunk)):
        spec = ModelSpec.model_validate({"name": name, "stem": stem})
        with torch.device("meta"):
            net = skeleton(spec, classes=3, size=size)
        maps = [s for _, _, s in meta.strided_modules(net, size) if s > 1]
        sides.append(maps[-1])

    assert abs(sides[0] - sides[1]) <= 1  # kernels of even size lose a pixel


def test_a_small_stem_leaves_every_weight_its_name_and_shape() -> None:
    """So that any checkpoint of the architecture still loads."""
    with torch.device("meta"):
        keep = skeleton(ModelSpec(name="resnet18"), classes=3, size=224)
        small = skeleton(ModelSpec(name="resnet18", stem="small"), classes=3, size=32)

    assert {n: t.shape for n, t in keep.state_dict().items()} == {
        n: t.shape for n, t in small.state_dict().items()
    }


@pytest.mark.parametrize("name", ["vgg16", "coatnet"])
def test_a_stem_that_cannot_be_small_is_refused(name: str) -> None:
    """VGG starts without a stride; CoAtNet's attention is built for one size."""
    with pytest.raises(RecipeError, match="stem: "), torch.device("meta"):
        skeleton(ModelSpec(name=name, stem="small"), classes=3, size=32)


@pytest.mark.parametrize(
    ("name", "sidecar"),
    [
        # published variants of another width are the oracle
        ("mobilenetv2", "mobilenetv2_050"),
        ("mobilenetv3_small", "mobilenetv3_small_050"),
        ("mobilenetv4", "mobilenetv4_conv_small_050"),
        ("shufflenet_v2_x1_0", None),
        ("mobilenetv1", None),
        ("efficientnet_b0", None),
        ("efficientnet-lite0", None),
        ("efficientnetv2", None),
        ("resnet18", None),
        ("resnet50", None),
        ("seresnet50", None),
        ("preactresnet18", None),
        ("convnext_tiny", None),
        ("mobilenet_v2", None),
        ("mobilenet_v3_large", None),
        ("lenet5", None),
        ("resnet20", None),
    ],
)
def test_half_the_width_costs_between_a_tenth_and_a_half(
    name: str, sidecar: str | None
) -> None:
    """MACs go with the square of the width, but for stems and depthwise layers."""
    size = resolve(name).size
    with torch.device("meta"):
        full = skeleton(ModelSpec(name=name), classes=1000, size=size)
        half = skeleton(ModelSpec(name=name, width=0.5), classes=1000, size=size)
        same = (
            skeleton(ModelSpec(name=sidecar), classes=1000, size=size)
            if sidecar
            else half
        )

    assert 0.1 < count_macs(half, size=size) / count_macs(full, size=size) < 0.5
    assert meta.outputs(half, size) == 1000
    assert count_params(half) == count_params(same)


def test_a_network_without_width_multiplier_says_which_have_one() -> None:
    """VGG keeps its widths."""
    with pytest.raises(
        RecipeError, match=r"vgg16 has no width multiplier.*mobilenetv1"
    ):
        skeleton(ModelSpec(name="vgg16", width=0.5), classes=10, size=224)


@pytest.mark.parametrize("name", ["torchvision/googlenet", "torchvision/inception_v3"])
def test_auxiliary_classifiers_are_gone_in_training_too(name: str) -> None:
    """Train mode gives a plain tensor, where torchvision would give a tuple."""
    with torch.device("meta"):
        net = skeleton(ModelSpec(name=name), classes=10, size=128).train()

    logits = net(meta.images(2, 128))

    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 10)


def test_fresh_weights_depend_on_the_seed_alone(console: Console) -> None:
    """Same seed, same bits; and torch's own generator does not notice."""

    def weights(seed: int) -> torch.Tensor:
        model = build(
            ModelSpec(name="lenet5"),
            classes=TEN,
            native_size=32,
            seed=seed,
            console=console,
        )
        return torch.cat([p.detach().reshape(-1) for p in model.net.parameters()])

    before = torch.random.get_rng_state()
    first, again, other = weights(1), weights(1), weights(2)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_head_for_other_classes_stays_fresh_and_is_told(
    tmp_path: Path, console: Console, told: Callable[[], str]
) -> None:
    """The backbone is loaded bit by bit, the last layer is not."""
    donor = skeleton(ModelSpec(name="resnet20"), classes=7, size=32)
    save_file(donor.state_dict(), tmp_path / "seven.safetensors")
    spec = ModelSpec(name="resnet20", weights=str(tmp_path / "seven.safetensors"))

    model = build(spec, classes=TEN, native_size=32, seed=0, console=console)

    assert "know 7 classes, the data has 10" in told()
    assert model.net.state_dict()["linear.weight"].shape == (10, 64)
    torch.testing.assert_close(
        model.net.state_dict()["layer3.0.conv1.weight"],
        donor.state_dict()["layer3.0.conv1.weight"],
        rtol=0,
        atol=0,
    )
    assert not fits(spec, TEN)
    assert fits(spec, TEN[:7])


def test_without_classes_the_weights_say_how_many(
    tmp_path: Path, console: Console
) -> None:
    """The head of the checkpoint is the only witness."""
    donor = skeleton(ModelSpec(name="lenet5"), classes=5, size=32)
    torch.save(donor.state_dict(), tmp_path / "five.pt")
    spec = ModelSpec(name="lenet5", weights=str(tmp_path / "five.pt"))

    model = build(spec, classes=None, native_size=None, seed=0, console=console)

    assert model.classes == ("0", "1", "2", "3", "4")


def test_a_checkpoint_of_another_architecture_is_refused(
    tmp_path: Path, console: Console
) -> None:
    """Exit 3, with keys by name."""
    donor = skeleton(ModelSpec(name="lenet5"), classes=10, size=32)
    torch.save(donor.state_dict(), tmp_path / "lenet.pt")
    spec = ModelSpec(name="resnet20", weights=str(tmp_path / "lenet.pt"))

    with pytest.raises(InputRejectedError, match=r"97 keys \(bn1.*missing.*c1\.weight"):
        build(spec, classes=TEN, native_size=32, seed=0, console=console)


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18"])
def test_published_weights_need_the_network_and_say_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    """With HF_HUB_OFFLINE nothing is asked; the sentence says what to do instead."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = ModelSpec(name=name, weights="pretrained")

    with pytest.raises(RecipeError, match=r"connect to the network.*--weights PATH"):
        build(spec, classes=TEN, native_size=None, seed=0, console=console)
    assert fits(spec, tuple(str(i) for i in range(1000)))


def test_published_weights_have_one_width(console: Console) -> None:
    """Nobody publishes weights for a width that the user makes up."""
    spec = ModelSpec(name="mobilenetv2", width=0.6, weights="pretrained")

    with pytest.raises(RecipeError, match="width 1 only"):
        build(spec, classes=TEN, native_size=None, seed=0, console=console)


def test_preprocessing_is_that_of_the_authors() -> None:
    """The oracle is what their libraries say of them."""
    lite, alex = resolve("efficientnet-lite0"), resolve("alexnet")

    ours = preprocess_for(lite, size=224, native_size=None)
    theirs = preprocess_for(alex, size=224, native_size=None)

    # tf_efficientnet_lite0: crop_pct 0.875, Inception's mean and deviation, bicubic
    assert (ours.size, ours.resize, ours.interpolation) == (224, 256, "bicubic")
    assert ours.mean == ours.std == (0.5, 0.5, 0.5)
    assert (theirs.size, theirs.resize) == (224, 256)
    assert theirs.mean == (0.485, 0.456, 0.406)


def test_images_that_are_too_small_are_not_cropped() -> None:
    """Digits of 8 pixels lose nothing at their border."""
    adapted = preprocess_for(resolve("mobilenetv3"), size=48, native_size=8)

    assert adapted.resize == adapted.size == 48
