"""Which INT8 answers hang on the last bits of float operators, network by network."""

from collections.abc import Callable
from typing import Any

import torch

from compress.evaluation.jitter import unsteadiness


def test_where_every_operator_is_whole_numbers_noise_does_nothing(
    quantized: Callable[[str], Any],
) -> None:
    """ResNet-18 has integer kernels only: noise on what moves values is rounded off."""
    made = quantized("resnet18")
    images = made.images[:4]
    with torch.inference_mode():
        scores = made.quantized(images)
        moved = unsteadiness(made.quantized, images, scores)
    assert moved.tolist() == [0.0] * 4


def test_a_float_operator_may_start_a_step_elsewhere(
    quantized: Callable[[str], Any],
) -> None:
    """With all of a network in float its answers move by as little as the noise."""
    made = quantized("resnet18")
    images = made.images[:4]
    everything = frozenset(node.name for node in made.graph.graph.nodes)
    net = type(made.quantized)(made.graph, made.quantized.scheme.without(everything))
    with torch.inference_mode():
        scores = net(images)
        moved = unsteadiness(net, images, scores)
    assert bool((moved > 0).all())
    assert float(moved.max()) < 1e-3 * float(scores.abs().max())
