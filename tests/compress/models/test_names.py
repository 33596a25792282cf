"""Names as people write them, and the networks they mean."""

import pytest

from compress.models.names import family, matching, resolve
from runtime.errors import Exit, RecipeError


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mobilenetv3", "mobilenetv3_large_100"),
        ("mobilenetv2", "mobilenetv2_100"),
        ("mobilenetv1", "mobilenetv1_100"),
        ("mobilenetv4", "mobilenetv4_conv_small"),
        ("efficientnet-lite0", "tf_efficientnet_lite0"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("vgg16", "vgg16"),
        ("senet", "senet154"),
        ("xception", "legacy_xception"),
        ("darknet53", "darknet53"),
        ("coatnet", "coatnet_0_224"),
        ("regnet", "regnety_008"),
        ("convnext", "convnext_tiny"),
        ("wide_resnet", "wide_resnet50_2"),
        ("ResNet-50", "resnet50"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("timm/vgg16", "vgg16"),
        ("torchvision/vgg16", "torchvision/vgg16"),
        ("mobilenet_v2", "torchvision/mobilenet_v2"),
        ("alexnet", "torchvision/alexnet"),
        ("LeNet-5", "lenet5"),
        ("resnet20", "cifar_resnet20"),
    ],
)
def test_a_name_resolves_to_the_network_that_is_meant(said: str, meant: str) -> None:
    """What is announced resolves to itself, so a recipe can be written with it."""
    found = resolve(said)

    assert found.canonical == meant
    assert resolve(found.canonical).canonical == meant


def test_only_a_name_that_was_not_exact_is_announced() -> None:
    """Nobody wants to hear that resnet50 is resnet50."""
    friendly, exact = resolve("mobilenetv3"), resolve("torchvision/resnet50")

    assert friendly.announcement == "mobilenetv3: taken as mobilenetv3_large_100 (timm)"
    assert exact.announcement is None


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("resent50", "resnet50"),
        ("mobilnetv3", "mobilenetv3"),
        ("timm/alexnet", "alexnet"),
        ("resnet50.nope", "resnet50"),
        ("nobody/resnet50", "resnet50"),
    ],
)
def test_a_wrong_name_suggests_the_nearest(wrong: str, near: str) -> None:
    """One sentence, exit code 2, with a name that exists."""
    with pytest.raises(RecipeError, match=f"did you mean .*{near}") as caught:
        resolve(wrong)

    assert caught.value.exit_code is Exit.USAGE


def test_a_checkpoint_is_not_mistaken_for_an_architecture() -> None:
    """The sentence says how to name both."""
    with pytest.raises(RecipeError, match="is a file of weights"):
        resolve("runs/best.safetensors")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "resnet"),
        ("cifar_resnet20", "resnet"),
        ("torchvision/googlenet", "resnet"),
        ("seresnet50", "resnet"),
        ("vgg16", "vgg"),
        ("lenet5", "vgg"),
        ("torchvision/alexnet", "vgg"),
        ("mobilenetv3_large_100", "mobilenet"),
        ("torchvision/shufflenet_v2_x1_0", "mobilenet"),
        ("tf_efficientnet_lite0", "efficientnet"),
        ("coatnet_0_224", "transformer"),
        ("torchvision/vit_b_16", "transformer"),
        ("convnext_tiny", "transformer"),
        ("my_net", "other"),
    ],
)
def test_the_family_decides_how_a_network_is_trained(name: str, expected: str) -> None:
    """Families as the issue lists their defaults."""
    assert family(name) == expected


def test_a_pattern_finds_architectures_of_both_libraries() -> None:
    """Text without wildcards matches anywhere; wildcards match the whole name."""
    assert {found.canonical for found in matching("vgg1[69]")} == {
        "vgg16",
        "vgg19",
        "torchvision/vgg16",
        "torchvision/vgg19",
    }
    assert "cifar_resnet56" in {found.canonical for found in matching("resnet56")}
