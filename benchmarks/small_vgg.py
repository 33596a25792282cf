"""A VGG for 32x32 images that trains in minutes: its classifier holds most weights."""

from torch import Tensor, nn


class SmallVgg(nn.Module):
    """Four stages of 3x3 convolutions, then three linear layers, as VGG has them."""

    def __init__(self, *, classes: int) -> None:
        """Half a megabyte of features and 6 MB of classifier."""
        super().__init__()
        self.features = nn.Sequential(
            *_stage(3, 24), *_stage(24, 48), *_stage(48, 96), *_stage(96, 96)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(96 * 2 * 2, 1024),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(1024, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, 3, 32, 32]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def small_vgg(num_classes: int) -> nn.Module:
    """What `--model-file` calls."""
    return SmallVgg(classes=num_classes)


def _stage(channels_in: int, channels_out: int) -> list[nn.Module]:
    """One convolution, and half of the side."""
    return [
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
