"""ResNets for 32x32 images (He et al. 2016, section 4.2), with option-A shortcuts.

Names of layers and the split of the padding follow Yerlan Idelbayev's implementation
(github.com/akamaster/pytorch_resnet_cifar10), so that its checkpoints load as they are.
"""

import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn


class Shortcut(nn.Module):
    """Option A: every second pixel, and zeros for the channels that are new."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        """Split the missing channels evenly between front and back."""
        super().__init__()
        missing = channels_out - channels_in
        self.front = missing // 2
        self.back = missing - missing // 2

    def forward(self, maps: Tensor) -> Tensor:
        """[n, in, h, w] to [n, out, h / 2, w / 2], without a parameter."""
        return F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, self.front, self.back))


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        """Widen and halve the maps where `stride` is 2."""
        super().__init__()
        self.conv1 = nn.Conv2d(
            channels_in, channels_out, 3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = (
            nn.Identity() if stride == 1 else Shortcut(channels_in, channels_out)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Residual step: relu(F(maps) + shortcut(maps))."""
        inner = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(maps))


class CifarResNet(nn.Module):
    """6n + 2 layers: three stages of n blocks with 16, 32 and 64 channels."""

    def __init__(self, *, blocks: int, classes: int = 10, width: float = 1.0) -> None:
        """`blocks` is n; every channel count is multiplied by `width`."""
        super().__init__()
        stem, middle, last = (max(2, round(width * n)) for n in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, stem, blocks, stride=1)
        self.layer2 = _stage(stem, middle, blocks, stride=2)
        self.layer3 = _stage(middle, last, blocks, stride=2)
        self.linear = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, as the author

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """The order of the layers, in timm's terms, for rates that differ by depth."""
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        return {"stem": r"^conv1|^bn1", "blocks": blocks}

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of `images` [n, 3, 32, 32]; other sizes work too."""
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.linear(maps.mean(dim=(2, 3)))
        return logits


def _stage(
    channels_in: int, channels_out: int, blocks: int, *, stride: int
) -> nn.Sequential:
    """Blocks of one width, the first of which changes width and stride."""
    first = Block(channels_in, channels_out, stride=stride)
    rest = [Block(channels_out, channels_out, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
