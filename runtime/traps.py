"""Known pitfalls of devices and their runtimes, each with where it is known from."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Trap:
    """Something that goes wrong on a device; source: who measured it or wrote it."""

    text: str
    source: str


_OURS: Final = "measured by us, ONNX Runtime 1.32, other CPUs emulated by QEMU"
_PI: Final = "raspberrypi.com/documentation: vcgencmd get_throttled"
_TENSORRT: Final = "NVIDIA TensorRT, ONNX parser, read and tried in its CPU builder"

NEEDS_VNNI: Final = Trap(
    text="Without VNNI its kernels saturate: on a Haswell 15 % of MobileNetV2's "
    "answers changed (7.9 dB). Take x86-avx2 there.",
    source=_OURS,
)
SATURATES: Final = Trap(
    text="AVX2 adds two products of uint8 and int8 within 16 bits. Weights that "
    "could overflow are stored as uint8, which costs time, not answers.",
    source="onnxruntime.ai, quantization: reduce_range and VPMADDUBSW",
)
MACHINES_DIFFER: Final = Trap(
    text="How much INT8 gains belongs to the machine: with VNNI 3.5x for ResNet-50 "
    "and 1.7x for MobileNetV3-L, without it less, or nothing.",
    source="measured by us, 224 px, one thread",
)
OLD_DOT_PRODUCT: Final = Trap(
    text="On cores without dot products (Cortex-A72 and older) ONNX Runtime up to "
    "1.29 overflows on two products of -128 and -128. Our weights are within "
    "+-127; foreign files want 1.30 or later.",
    source="github.com/microsoft/onnxruntime, issue 31573",
)
PROVEN_ELSEWHERE: Final = Trap(
    text="On x86 the kernels for this file saturate (29 dB, 99.2 % of answers "
    "alike): prove it on the device or under emulation.",
    source=_OURS,
)
NO_DOT_PRODUCT: Final = Trap(
    text="A Cortex-A72 has no dot products of 8 bits, so INT8 gains less: "
    "EfficientDet-Lite0 takes 329 ms in float32 and 198 in INT8, 1.7x; on a Pi 5 "
    "2.3x.",
    source="github.com/NobuoTsukamoto/benchmarks: TFLite 2.18, XNNPACK, one thread",
)
PER_TENSOR: Final = Trap(
    text="Old uint8 files with one scale a tensor run no dot-product kernel on a "
    "Cortex-A76. Quantize the network anew, one scale a channel.",
    source="measured by us, MobileNetV2, instructions counted under QEMU",
)
PI_THROTTLES: Final = Trap(
    text="It lowers its clock from 80 degrees C on, and where its supply is weak. "
    "Look at `vcgencmd get_throttled` before and after; 0x0 is sound.",
    source=_PI,
)
PI_SUPPLY: Final = Trap(
    text="It wants 5 A at 5 V; a supply for a Pi 4 gives 3 A.",
    source="raspberrypi.com/documentation: power supply",
)
SIXTY_FOUR_BITS: Final = Trap(
    text="A 32-bit system has no wheels of ai-edge-litert and onnxruntime: install "
    "the 64-bit one.",
    source="pypi.org: ai-edge-litert, onnxruntime",
)
FP16_FIRST: Final = Trap(
    text="MobileNets at batch 1: take FP16. INT8 is 1.09x as fast on an Orin Nano "
    "(0.78 for 0.85 ms) and changed 9 % of MobileNetV2's answers; ResNet-50 gains "
    "1.5x.",
    source="published for an Orin Nano 8 GB with TensorRT 10.3; read, not measured",
)
QDQ_RULES: Final = Trap(
    text="TensorRT refuses zero points other than 0 and integer biases, and "
    "silently clips uint8: only files of the jetson layout are right.",
    source=_TENSORRT,
)
TWO_DIALECTS: Final = Trap(
    text="trtexec 11 has no --int8 and no --fp16: what is to be FP16 has to stand in "
    "the file. JetPack 6 has TensorRT 10.3, JetPack 7.2 has 10.16.",
    source="NVIDIA TensorRT release notes",
)
NO_ORT_GPU: Final = Trap(
    text="onnxruntime-gpu for aarch64 has neither a TensorRT provider nor kernels "
    "for Orin's GPU (sm_87): on a Jetson it is trtexec.",
    source="pypi.org: onnxruntime-gpu, aarch64 wheels",
)
NO_INT8_GPU: Final = Trap(
    text="Its GPU (Maxwell, sm_53) has no INT8: its file is float32, and trtexec "
    "--fp16 makes it fast. An Orin Nano is a jetson-orin.",
    source="NVIDIA TensorRT 8.2 support matrix, hardware and precision",
)
OLD_OPSET: Final = Trap(
    text="JetPack 4.6 ends with TensorRT 8.2, which knows opset 13, and Python 3.6, "
    "too old for our runtime. Files are of opset 18: what changed since is refused. "
    "Nobody has tried one of ours there.",
    source="NVIDIA TensorRT 8.2 release notes",
)
NO_NNAPI: Final = Trap(
    text="NNAPI is deprecated since Android 15: the CPU through XNNPACK is what "
    "works everywhere.",
    source="developer.android.com/ndk/guides/neuralnetworks/migration-guide",
)
BIG_AND_LITTLE: Final = Trap(
    text="Cores differ: which ones it ran on decides what is measured. Pin it by "
    "`taskset`, as docker/device/adb-profile.sh does with --cores.",
    source="developer.arm.com: big.LITTLE",
)
UNTESTED: Final = Trap(
    text="Neither the file nor the script was ever tried on a telephone by us; the "
    "file is the one that answers alike on x86, Cortex-A72 and Cortex-A76.",
    source="measured by us under QEMU",
)
