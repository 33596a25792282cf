"""LeNet-5 of "Gradient-based learning applied to document recognition" (LeCun 1998).

Two changes that everybody makes since: C3 sees all maps of S2 instead of a table of
connections, and the output is a linear layer instead of Gaussian units. The colors
are three, so that one data pipeline feeds every network.
"""

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """[n, 3, 32, 32] to [n, classes]; other sizes from 32 up are averaged after C5."""

    def __init__(self, *, classes: int = 10, width: float = 1.0) -> None:
        """Make every layer `width` times as wide as the paper's 6, 16, 120, 84."""
        super().__init__()
        c1, c3, c5, f6 = (max(1, round(width * n)) for n in (6, 16, 120, 84))
        self.c1 = nn.Conv2d(3, c1, 5)
        self.s2 = nn.AvgPool2d(2)
        self.c3 = nn.Conv2d(c1, c3, 5)
        self.s4 = nn.AvgPool2d(2)
        self.c5 = nn.Conv2d(c3, c5, 5)
        self.f6 = nn.Linear(c5, f6)
        self.fc = nn.Linear(f6, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`."""
        maps = self.s2(torch.tanh(self.c1(images)))
        maps = self.s4(torch.tanh(self.c3(maps)))
        features = torch.tanh(self.c5(maps)).mean(dim=(2, 3))
        logits: Tensor = self.fc(torch.tanh(self.f6(features)))
        return logits
