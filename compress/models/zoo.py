"""The architectures this project answers for; each row is recomputed by a test.

Counts are those of the network at its own input size, with its authors' number of
classes: 10 for the networks of LeCun and of CIFAR, 1000 for all others.
"""

from typing import Final, NamedTuple

from compress.models.names import Source


class Listed(NamedTuple):
    """One architecture: parameters, multiply-accumulates for one image, input side."""

    name: str
    params: int
    macs: int
    input_size: int
    source: Source


ZOO: Final = (
    Listed("lenet5", 62_006, 651_720, 32, "edgepress"),
    Listed("alexnet", 61_100_840, 714_188_480, 224, "torchvision"),
    Listed("vgg16", 138_357_544, 15_470_264_320, 224, "timm"),
    Listed("vgg19", 143_667_240, 19_632_062_464, 224, "timm"),
    Listed("googlenet", 6_624_904, 1_498_376_192, 224, "torchvision"),
    Listed("inception_v3", 23_834_568, 5_713_216_096, 299, "timm"),
    Listed("resnet18", 11_689_512, 1_814_073_344, 224, "timm"),
    Listed("resnet34", 21_797_672, 3_663_761_408, 224, "timm"),
    Listed("resnet50", 25_557_032, 4_089_184_256, 224, "timm"),
    Listed("resnet101", 44_549_160, 7_801_405_440, 224, "timm"),
    Listed("resnet152", 60_192_808, 11_513_626_624, 224, "timm"),
    Listed("resnetv2_18", 11_687_720, 1_814_073_344, 224, "timm"),
    Listed("resnetv2_34", 21_795_880, 3_663_761_408, 224, "timm"),
    Listed("resnetv2_50", 25_549_352, 4_089_184_256, 224, "timm"),
    Listed("resnetv2_101", 44_541_480, 7_801_405_440, 224, "timm"),
    Listed("wide_resnet50_2", 68_883_240, 11_398_021_120, 224, "timm"),
    Listed("resnext50_32x4d", 25_028_904, 4_230_479_872, 224, "timm"),
    Listed("seresnet50", 28_088_024, 4_091_699_200, 224, "timm"),
    Listed("senet154", 115_088_984, 20_688_363_520, 224, "timm"),
    Listed("densenet121", 7_978_856, 2_834_161_664, 224, "timm"),
    Listed("legacy_xception", 22_855_952, 8_357_403_496, 299, "timm"),
    Listed("darknet53", 41_609_928, 9_285_115_904, 256, "timm"),
    Listed("squeezenet1_0", 1_248_424, 818_924_576, 224, "torchvision"),
    Listed("squeezenet1_1", 1_235_496, 349_151_936, 224, "torchvision"),
    Listed("shufflenet_v2_x0_5", 1_366_792, 40_476_448, 224, "torchvision"),
    Listed("shufflenet_v2_x1_0", 2_278_604, 144_907_992, 224, "torchvision"),
    Listed("mobilenetv1_100", 4_231_976, 568_740_352, 224, "timm"),
    Listed("mobilenetv2_100", 3_504_872, 300_774_272, 224, "timm"),
    Listed("mobilenetv3_small_100", 2_542_856, 56_510_400, 224, "timm"),
    Listed("mobilenetv3_large_100", 5_483_032, 216_589_760, 224, "timm"),
    Listed("mobilenetv4_conv_small", 3_774_024, 186_005_568, 224, "timm"),
    Listed("mobilenetv4_conv_medium", 9_715_512, 1_080_244_224, 256, "timm"),
    Listed("mobilenetv4_conv_large", 32_590_864, 6_376_220_672, 384, "timm"),
    Listed("efficientnet_b0", 5_288_548, 385_814_752, 224, "timm"),
    Listed("efficientnet_b1", 7_794_184, 686_802_832, 240, "timm"),
    Listed("efficientnet_b2", 9_109_994, 859_853_760, 256, "timm"),
    Listed("efficientnet_b3", 12_233_232, 1_589_198_096, 288, "timm"),
    Listed("efficientnet_b4", 19_341_616, 3_063_687_008, 320, "timm"),
    Listed("efficientnet_b5", 30_389_784, 9_404_374_080, 448, "timm"),
    Listed("efficientnet_b6", 43_040_704, 19_067_593_536, 528, "timm"),
    Listed("efficientnet_b7", 66_347_960, 37_745_884_192, 600, "timm"),
    Listed("tf_efficientnet_lite0", 4_652_008, 385_187_552, 224, "timm"),
    Listed("tf_efficientnet_lite1", 5_416_680, 600_185_232, 240, "timm"),
    Listed("tf_efficientnet_lite2", 6_092_072, 859_736_272, 260, "timm"),
    Listed("tf_efficientnet_lite3", 8_197_096, 1_607_554_544, 300, "timm"),
    Listed("tf_efficientnet_lite4", 13_006_568, 3_943_564_112, 380, "timm"),
    Listed("tf_efficientnetv2_s", 21_458_488, 5_307_561_248, 300, "timm"),
    Listed("coatnet_0_224", 25_036_820, 4_546_507_776, 224, "timm"),
    Listed("regnetx_008", 7_259_656, 799_699_712, 224, "timm"),
    Listed("regnety_008", 6_263_168, 797_176_832, 224, "timm"),
    Listed("regnety_032", 19_436_338, 3_176_482_752, 224, "timm"),
    Listed("convnext_tiny", 28_589_128, 4_455_531_264, 224, "timm"),
    Listed("cifar_resnet20", 269_722, 40_551_040, 32, "edgepress"),
    Listed("cifar_resnet32", 464_154, 68_862_592, 32, "edgepress"),
    Listed("cifar_resnet44", 658_586, 97_174_144, 32, "edgepress"),
    Listed("cifar_resnet56", 853_018, 125_485_696, 32, "edgepress"),
)
