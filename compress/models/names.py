"""Names to architectures: what a user may write, and which network is meant."""

import difflib
import fnmatch
import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from compress.models.mistaken import mistaken
from runtime.errors import RecipeError

Source = Literal["timm", "torchvision", "edgepress"]
Family = Literal["resnet", "vgg", "mobilenet", "efficientnet", "transformer", "other"]

OWN: Final = (
    "lenet5",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
)
# The side their authors designed our own nets for, pixels.
OWN_SIZE: Final = 32

# What people say -> which network they mean; spelled as `_squeezed` leaves it.
FRIENDLY: Final[dict[str, str]] = {
    "lenet": "lenet5",
    "resnet20": "cifar_resnet20",
    "resnet32": "cifar_resnet32",
    "resnet44": "cifar_resnet44",
    "resnet56": "cifar_resnet56",
    "vgg": "vgg16",
    "inceptionv1": "torchvision/googlenet",
    "inception": "inception_v3",
    "resnet": "resnet50",
    "preresnet": "resnetv2_50",
    "preactresnet": "resnetv2_50",
    "preactresnet18": "resnetv2_18",
    "preactresnet34": "resnetv2_34",
    "preactresnet50": "resnetv2_50",
    "preactresnet101": "resnetv2_101",
    "resnetv2": "resnetv2_50",
    "wideresnet": "wide_resnet50_2",
    "wideresnet50": "wide_resnet50_2",
    "wrn": "wide_resnet50_2",
    "resnext": "resnext50_32x4d",
    "resnext50": "resnext50_32x4d",
    "seresnet": "seresnet50",
    "senet": "senet154",
    "densenet": "densenet121",
    "xception": "legacy_xception",
    "darknet": "darknet53",
    "squeezenet": "torchvision/squeezenet1_0",
    "shufflenet": "torchvision/shufflenet_v2_x1_0",
    "shufflenetv2": "torchvision/shufflenet_v2_x1_0",
    "mobilenet": "mobilenetv1_100",
    "mobilenetv1": "mobilenetv1_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "mobilenetv3l": "mobilenetv3_large_100",
    "mobilenetv3large": "mobilenetv3_large_100",
    "mobilenetv3s": "mobilenetv3_small_100",
    "mobilenetv3small": "mobilenetv3_small_100",
    "mobilenetv4": "mobilenetv4_conv_small",
    "mobilenetv4s": "mobilenetv4_conv_small",
    "mobilenetv4small": "mobilenetv4_conv_small",
    "mobilenetv4m": "mobilenetv4_conv_medium",
    "mobilenetv4medium": "mobilenetv4_conv_medium",
    "mobilenetv4l": "mobilenetv4_conv_large",
    "mobilenetv4large": "mobilenetv4_conv_large",
    "efficientnet": "efficientnet_b0",
    # timm's ports of Google's weights; its own efficientnet_lite1..4 have none
    "efficientnetlite": "tf_efficientnet_lite0",
    "efficientnetlite0": "tf_efficientnet_lite0",
    "efficientnetlite1": "tf_efficientnet_lite1",
    "efficientnetlite2": "tf_efficientnet_lite2",
    "efficientnetlite3": "tf_efficientnet_lite3",
    "efficientnetlite4": "tf_efficientnet_lite4",
    "efficientnetv2": "tf_efficientnetv2_s",
    "efficientnetv2s": "tf_efficientnetv2_s",
    "coatnet": "coatnet_0_224",
    "coatnet0": "coatnet_0_224",
    "regnet": "regnety_008",
    "regnetx": "regnetx_008",
    "regnety": "regnety_008",
    "convnext": "convnext_tiny",
}

# The first pattern that is found decides; how a family is trained depends on it.
_FAMILIES: Final[tuple[tuple[str, Family], ...]] = (
    (r"(^|[_/])(vit|deit|swin|maxvit|coatnet|beit|mvit)|convnext", "transformer"),
    (r"efficientnet", "efficientnet"),
    (r"mobilenet|shufflenet|squeezenet|mnasnet|ghostnet|lcnet", "mobilenet"),
    (r"vgg|alexnet|^lenet", "vgg"),
    (r"resne|senet|densenet|darknet|regnet|googlenet|[nx]ception", "resnet"),
)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """One architecture of one library; `size` is the input side it was made for."""

    asked: str
    source: Source
    name: str
    size: int

    @property
    def canonical(self) -> str:
        """The name that resolves to exactly this, whatever else is installed."""
        return f"torchvision/{self.name}" if self.source == "torchvision" else self.name

    @property
    def announcement(self) -> str | None:
        """A sentence, where the network is called otherwise than the user said."""
        plain = self.asked.removeprefix("timm/").removeprefix("torchvision/")
        if plain == self.name:
            return None
        return f"{self.asked}: taken as {self.name} ({self.source})"


def resolve(name: str) -> Resolved:
    """The architecture that `name` means; raises RecipeError with the nearest names."""
    source, _, rest = name.rpartition("/")
    if source not in ("", "timm", "torchvision"):
        raise _unknown(name)
    found = _found(source, rest)
    if found is None:
        raise _unknown(name)
    library, canonical = found
    return Resolved(
        asked=name, source=library, name=canonical, size=_own_size(library, canonical)
    )


def family(name: str) -> Family:
    """How a network is usually trained, judged by its name; cheap."""
    for pattern, found in _FAMILIES:
        if re.search(pattern, name.lower().replace("-", "")):
            return found
    return "other"


def matching(pattern: str) -> tuple[Resolved, ...]:
    """Every architecture whose name matches a shell pattern, or contains the text."""
    wanted = pattern if re.search(r"[*?\[]", pattern) else f"*{pattern}*"
    own = [n for n in OWN if fnmatch.fnmatch(n, wanted)]
    ours = fnmatch.filter(timm_names(), wanted)
    theirs = [
        f"torchvision/{n}"
        for n in sorted(torchvision_names())
        if fnmatch.fnmatch(n, wanted) or fnmatch.fnmatch(f"torchvision/{n}", wanted)
    ]
    return tuple(resolve(name) for name in (*own, *ours, *theirs))


@cache
def timm_names() -> tuple[str, ...]:
    """Every architecture of timm."""
    from compress.context.vision import timm

    return tuple(timm.list_models())


@cache
def torchvision_names() -> frozenset[str]:
    """Every image classifier of torchvision."""
    from compress.context.vision import torchvision

    return frozenset(torchvision.models.list_models(module=torchvision.models))


def _found(source: str, name: str) -> tuple[Source, str] | None:
    """Look a name up: exactly first, then as people say it, then as they spell it."""
    if not source and name in OWN:
        return "edgepress", name
    arch = name.split(".", 1)[0]  # timm: architecture.tag
    if source != "torchvision" and arch in timm_names() and _tag_exists(name):
        return "timm", name
    if source != "timm" and name in torchvision_names():
        return "torchvision", name
    short = _squeezed(name)
    if short in FRIENDLY:
        target, _, plain = FRIENDLY[short].rpartition("/")
        if source in ("", target) or (source == "timm" and not target):
            return _found(target or source, plain)
    spelled: dict[str, tuple[Source, str]] = {}
    if source != "timm":
        spelled |= {_squeezed(n): ("torchvision", n) for n in torchvision_names()}
    if source != "torchvision":
        spelled |= {_squeezed(n): ("timm", n) for n in timm_names()}
    if not source:
        spelled |= {_squeezed(n): ("edgepress", n) for n in OWN}
    return spelled.get(short)


def _tag_exists(name: str) -> bool:
    """Whether `name` has no tag, or one of published weights of its architecture."""
    from compress.context.vision import timm

    return "." not in name or name in timm.list_pretrained()


def _own_size(source: Source, name: str) -> int:
    """The input side a network was published for, pixels."""
    from compress.context.vision import timm, torchvision

    if source == "edgepress":
        return OWN_SIZE
    if source == "timm":
        return int(timm.get_pretrained_cfg(name).input_size[-1])
    first = next(iter(torchvision.models.get_model_weights(name)))
    return int(first.transforms().crop_size[0])


def _squeezed(name: str) -> str:
    """`ResNet-50` as `resnet50`: only what people agree on."""
    return re.sub(r"[-_ .]", "", name.lower())


def _unknown(name: str) -> RecipeError:
    """The error for a name that means nothing, with the nearest that do."""
    if (said := mistaken(name)) is not None:
        return RecipeError(said)
    spelled = {_squeezed(n): n for n in (*torchvision_names(), *timm_names(), *OWN)}
    spelled |= {short: short for short in FRIENDLY}
    short = _squeezed(name.rpartition("/")[2])
    near = [spelled[n] for n in difflib.get_close_matches(short, spelled, 4, 0.6)]
    hint = f"did you mean {', '.join(near)}?" if near else "nothing is spelled like it;"
    return RecipeError(
        f"model: unknown model {name!r}; {hint} `compress models` lists what there is"
    )
