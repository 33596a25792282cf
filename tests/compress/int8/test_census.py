"""What stays float in a quantized network is named, with its share of the work."""

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.evaluation.costs import count_macs
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.float_operators import float_operators, macs_of
from compress.int8.plan import planned
from compress.int8.simulate import QuantizedNet
from compress.quantization.calibrate import scheme_of, seen_ranges


class Attentive(nn.Module):
    """Attention of two heads between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(3, 48, 4, stride=4)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        maps = self.qkv(images)
        heads = maps.view(-1, 2, 24, 16).transpose(2, 3)
        query, key, value = heads.split(8, dim=3)
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.head(seen.transpose(2, 3).reshape(-1, 16, 4, 4).mean((2, 3)))


def test_attention_is_named_with_its_share() -> None:
    """The whole is what torch's own counter finds; attention's part is counted here."""
    torch.manual_seed(0)
    net = Attentive().eval()
    graph = captured(net, size=16, name="attentive")
    canonical_(graph)
    plan = planned(graph)
    images = torch.randn(4, 3, 16, 16)
    scheme = scheme_of(
        graph, plan, seen_ranges(graph, plan, lambda: [images]), "minmax"
    )
    made = QuantizedNet(graph, scheme)

    (found,) = float_operators(made)

    every = macs_of(made)
    assert sum(every.values()) == count_macs(net, size=16)
    # 16 tokens look at 16, with 8 numbers for the likeness and 8 for the value.
    whole = sum(every.values())
    assert found["operator"] == "scaled_dot_product_attention"
    assert found["macs_share"] == 2 * 16 * 16 * (8 + 8) / whole
