"""Every architecture the project names: counted, compared with its paper, and run."""

from functools import cache
from typing import Final

import pytest
import torch
from torch import nn

from compress.context.vision import torchvision
from compress.evaluation.costs import count_macs, count_params
from compress.models.build import skeleton
from compress.models.names import resolve
from compress.models.spec import ModelSpec
from compress.models.zoo import ZOO, Listed

# torchvision publishes `num_params` and `_ops` (10^9 MACs) with its weights; where it
# has the same architecture, its numbers are the oracle: here under timm's names.
SAME_IN_TORCHVISION: Final = {
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "inception_v3": "inception_v3",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "wide_resnet50_2": "wide_resnet50_2",
    "resnext50_32x4d": "resnext50_32x4d",
    "densenet121": "densenet121",
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b1": "efficientnet_b1",
    "efficientnet_b2": "efficientnet_b2",
    "efficientnet_b3": "efficientnet_b3",
    "efficientnet_b4": "efficientnet_b4",
    "efficientnet_b5": "efficientnet_b5",
    "efficientnet_b6": "efficientnet_b6",
    "efficientnet_b7": "efficientnet_b7",
    "tf_efficientnetv2_s": "efficientnet_v2_s",
    "convnext_tiny": "convnext_tiny",
    "alexnet": "alexnet",
    "googlenet": "googlenet",
    "squeezenet1_0": "squeezenet1_0",
    "squeezenet1_1": "squeezenet1_1",
    "shufflenet_v2_x0_5": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
}
# torchvision counts Inception-v3 with the auxiliary classifier, which ours lacks:
# conv0 768x128, conv1 128x768x5x5, two batch-norms, a linear layer 768 -> 1000.
INCEPTION_AUXILIARY: Final = 768 * 128 + 128 * 768 * 25 + 2 * (128 + 768) + 769_000


def cifar_macs(blocks: int) -> int:
    """Closed form for a CIFAR ResNet with `blocks` in each of its three stages."""
    whole = 32 * 32 * 9 * 16 * 16  # the same at 16^2 x 32^2 and at 8^2 x 64^2
    stages = 2 * blocks * whole + 2 * (whole // 2 + (2 * blocks - 1) * whole)
    return 32 * 32 * 27 * 16 + stages + 64 * 10


# name: (10^6 parameters, 10^6 MACs, input side, tolerance), as printed by the source.
PUBLISHED: Final[dict[str, tuple[float, float, int, float]]] = {
    # LeCun 1998 with every connection in C3: 61,706 for one color, 300 for two more;
    # MACs by hand: 28^2*6*75 + 10^2*16*150 + 48,000 + 10,080 + 840.
    "lenet5": (0.062006, 0.651720, 32, 1e-6),
    # He et al. 2016, table 6: parameters. MACs by hand for n blocks a stage: the stem,
    # 6n 3x3 convolutions of which two start from half the channels, the classifier;
    # 125.49 M for ResNet-56 is what Lin et al. 2020 (HRank) print too.
    "cifar_resnet20": (0.27, cifar_macs(3) / 1e6, 32, 1e-9),
    "cifar_resnet32": (0.46, cifar_macs(5) / 1e6, 32, 1e-9),
    "cifar_resnet44": (0.66, cifar_macs(7) / 1e6, 32, 1e-9),
    "cifar_resnet56": (0.85, 125.49, 32, 1e-4),
    # He et al. 2016b: pre-activation moves layers about and costs nothing; the numbers
    # are ResNet's, of torchvision.
    "resnetv2_18": (11.69, 1814.0, 224, 0.001),
    "resnetv2_34": (21.80, 3664.0, 224, 0.001),
    "resnetv2_50": (25.557, 4089.0, 224, 0.001),
    "resnetv2_101": (44.549, 7801.0, 224, 0.001),
    # Hu et al. 2018, table 2: the gates of SE-ResNet-50 add 0.01 GFLOPs to ResNet-50
    # (4.089 by torchvision's count); parameters: timm's model card.
    "seresnet50": (28.1, 4089.0 + 10.0, 224, 0.005),
    # timm's model card of senet154.gluon_in1k: 115.1 M, 20.8 GMACs.
    "senet154": (115.1, 20_800.0, 224, 0.006),
    # Chollet 2017, table 3: 22,855,952 parameters; timm's model card: 8.4 GMACs at 299.
    "legacy_xception": (22.855952, 8400.0, 299, 0.006),
    # Redmon & Farhadi 2018, table 2: Darknet-53, 18.7 Bn operations at 256, so 9.35
    # GMAC; parameters: timm's model card.
    "darknet53": (41.6, 9350.0, 256, 0.01),
    # Howard et al. 2017, table 8: 4.2 M and 569 M.
    "mobilenetv1_100": (4.2, 569.0, 224, 0.01),
    # timm's model cards of e2400_r224, e500_r256 and e600_r384: parameters, GMACs with
    # one decimal (Google published no weights to compare with).
    "mobilenetv4_conv_small": (3.8, 200.0, 224, 0.25),
    "mobilenetv4_conv_medium": (9.7, 1100.0, 256, 0.05),
    "mobilenetv4_conv_large": (32.6, 6400.0, 384, 0.01),
    # github.com/tensorflow/tpu, efficientnet/lite/README: parameters and MAdds
    # (which count batch-norm and activations too, hence the tolerance).
    "tf_efficientnet_lite0": (4.7, 407.0, 224, 0.07),
    "tf_efficientnet_lite1": (5.4, 631.0, 240, 0.07),
    "tf_efficientnet_lite2": (6.1, 899.0, 260, 0.07),
    "tf_efficientnet_lite3": (8.2, 1440.0, 280, 0.07),
    "tf_efficientnet_lite4": (13.0, 2640.0, 300, 0.07),
    # Dai et al. 2021, table 4: CoAtNet-0 25 M, 4.2 G (attention's products left out).
    "coatnet_0_224": (25.0, 4200.0, 224, 0.09),
    # Radosavovic et al. 2020, tables 2 and 3 of the appendix.
    "regnetx_008": (7.3, 800.0, 224, 0.01),
    "regnety_008": (6.3, 800.0, 224, 0.01),
    "regnety_032": (19.4, 3200.0, 224, 0.01),
}
# A few networks have a size below which they cannot run, in their authors' own words
# or because their kernels are larger than what is left; all others run at 32.
SMALLEST: Final = {"alexnet": 64, "inception_v3": 80}


def shaped(name: str, *, classes: int, size: int) -> nn.Module:
    """The network without memory."""
    with torch.device("meta"):
        return skeleton(ModelSpec(name=name), classes=classes, size=size)


@cache
def costs(name: str, size: int) -> tuple[int, int]:
    """Parameters and MACs with the authors' number of classes."""
    classes = 10 if resolve(name).source == "edgepress" else 1000
    net = shaped(name, classes=classes, size=size)
    return count_params(net), count_macs(net, size=size)


@pytest.mark.parametrize("row", ZOO, ids=lambda row: row.name)
def test_zoo_lists_what_the_network_really_costs(row: Listed) -> None:
    """The table that `compress models` prints is recomputed, to the last digit."""
    assert resolve(row.name).size == row.input_size
    assert resolve(row.name).source == row.source
    assert costs(row.name, row.input_size) == (row.params, row.macs)


def test_every_network_of_the_zoo_has_a_published_number_beside_it() -> None:
    """No row may be compared with nothing."""
    assert {row.name for row in ZOO} == SAME_IN_TORCHVISION.keys() | PUBLISHED.keys()


@pytest.mark.parametrize("name", SAME_IN_TORCHVISION)
def test_costs_are_those_torchvision_publishes(name: str) -> None:
    """Torchvision's weights state parameters and 10^9 MACs at their own size."""
    sidecar = SAME_IN_TORCHVISION[name]
    weights = torchvision.models.get_model_weights(sidecar).IMAGENET1K_V1
    size = weights.transforms().crop_size[0]
    auxiliary = INCEPTION_AUXILIARY if name == "inception_v3" else 0

    params, macs = costs(name, size)

    assert params == weights.meta["num_params"] - auxiliary
    assert macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.0006)


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_those_the_paper_prints(name: str) -> None:
    """Where torchvision has no such network, its paper or its authors decide."""
    params, macs, size, tolerance = PUBLISHED[name]
    digit = 0.05 if params > 1 else 0.005  # half of the last digit that is printed

    counted = costs(name, size)

    assert counted[0] / 1e6 == pytest.approx(params, abs=digit + 1e-6)
    assert counted[1] / 1e6 == pytest.approx(macs, rel=tolerance)


@pytest.mark.parametrize("row", ZOO, ids=lambda row: row.name)
def test_every_network_tells_seven_classes_apart_on_small_images(row: Listed) -> None:
    """Real numbers pass through, in eval and in train mode, at 32 pixels if can be."""
    size = SMALLEST.get(row.name, 32)
    net = shaped(row.name, classes=7, size=size).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.0, 0.01, generator=generator)
            else:
                tensor.zero_()
    images = torch.rand(2, 3, size, size, generator=generator)

    with torch.no_grad():
        logits = net.eval()(images)
        trained = net.train()(images)

    assert logits.shape == trained.shape == (2, 7)
    assert bool(logits.isfinite().all())
