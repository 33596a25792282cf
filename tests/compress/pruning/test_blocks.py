"""Residual blocks: found by what they do, removed by what their loss changes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from compress.models.construct import skeleton
from compress.models.spec import ModelSpec
from compress.pruning.blocks import residual_blocks, without_blocks
from runtime.errors import RecipeError


def images() -> Iterator[Tensor]:
    """Two batches, the same ones each time."""
    rng = torch.Generator().manual_seed(0)
    return iter([torch.rand(2, 3, 32, 32, generator=rng) for _ in range(2)])


def net(name: str) -> nn.Module:
    """An architecture with fresh weights."""
    torch.manual_seed(0)
    return skeleton(ModelSpec(name=name), classes=4, size=32).eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_resnet20", [f"layer{s}.{b}" for s in (1, 2, 3) for b in range(3)]),
        ("resnetv2_18", [f"stages.{s}.blocks.{b}" for s in range(4) for b in range(2)]),
        ("lenet5", []),
    ],
)
def test_blocks_that_pass_on_what_they_are_given_are_found(
    name: str, expected: list[str]
) -> None:
    """All but those that change the shape: the first of every later stage."""
    first = {"layer2.0", "layer3.0", *(f"stages.{s}.blocks.0" for s in (1, 2, 3))}

    found = residual_blocks(net(name), next(images()))

    assert list(found) == [block for block in expected if block not in first]


def test_the_block_that_does_nothing_goes_first() -> None:
    """Its branch is zero, so the answers are what they were."""
    made = net("cifar_resnet20")
    norm = made.get_submodule("layer2.1.bn2")
    nn.init.zeros_(norm.weight)  # type: ignore[arg-type]

    shorter = without_blocks(made, 1, images)

    assert shorter.removed == ("layer2.1",)
    with torch.no_grad():
        for batch in images():
            assert torch.equal(shorter.net(batch), made(batch))


def test_more_blocks_than_there_are_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"blocks: 8 asked for, but only 7 residual"):
        without_blocks(net("cifar_resnet20"), 8, images)
