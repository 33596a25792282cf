"""What is trained on grids is what integer kernels run."""

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from compress.int8.at_rest import rebuilt, record_of, tensors_of
from compress.int8.capture import ATEN
from compress.int8.means import counts_of
from compress.int8.operators import inputs_of, rule_of
from compress.int8.rules import MEAN
from compress.models.model import Model
from compress.models.record import Int8Record
from compress.models.spec import ModelSpec
from compress.quantization.qat import QatNet
from runtime.preprocess import Preprocess
from runtime.typed import record_as

SIZE = 16


class Tiny(nn.Module):
    """A residual block with h-swish and a gate: every rule that grids obey."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.swish = nn.Hardswish()
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.depth_norm = nn.BatchNorm2d(8, eps=1e-3)
        self.gate = nn.Conv2d(8, 8, 1)
        self.before = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        first = self.swish(self.stem_norm(self.stem(images)))
        second = self.depth_norm(self.depth(first)).relu()
        gate = nn.functional.hardsigmoid(self.gate(second.mean((2, 3), keepdim=True)))
        both = self.before(first + second * gate).relu()
        logits: Tensor = self.head(both.mean((2, 3)))
        return logits


def pictures(seed: int = 0, count: int = 24) -> Tensor:
    """Noise as normalized images."""
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, SIZE, SIZE, generator=chance) * 4 - 2


def model() -> Model:
    """Tiny, with the statistics of a few batches."""
    torch.manual_seed(0)
    net = Tiny().train()
    for seed in range(20):
        net(pictures(seed))
    return Model(
        spec=ModelSpec(name="tiny"),
        net=net.eval(),
        preprocess=Preprocess(size=SIZE, resize=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3),
        classes=("a", "b", "c"),
    )


def learner(made: Model, *, lsq: bool = False) -> QatNet:
    """A network on its grids."""
    return QatNet(
        made,
        lambda: [pictures()],
        learn_scales=lsq,
        gather_until=1.0,
        watch_until=1.0,
    )


@cache
def traced(*, lsq: bool) -> QatNet:
    """Tiny on its grids; tracing takes longest, so that it is done once."""
    return learner(model(), lsq=lsq)


def fresh(*, lsq: bool = False, until: float = 1.0) -> QatNet:
    """A copy of it; statistics and ranges are followed `until` a share."""
    net = copy.deepcopy(traced(lsq=lsq))
    net.gather_until = net.watch_until = until
    return net


def steps_(net: QatNet, *, share: float = 0.0, count: int = 3) -> None:
    """A few steps of training on noise."""
    net.train()
    net.reach_(share)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
    for seed in range(count):
        loss = net(pictures(seed)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()


@pytest.mark.parametrize("lsq", [False, True])
def test_what_was_trained_is_what_the_kernels_compute(lsq: bool) -> None:
    """The kernels add integers; the trained graph adds floats of the same grids."""
    net = fresh(lsq=lsq)
    for share in (0.0, 1.0):  # norms at work, then folded for good
        steps_(net, share=share)

        with torch.inference_mode():
            torch.testing.assert_close(
                net.quantized()(pictures(9)), net(pictures(9)), rtol=0, atol=2e-5
            )


def test_training_starts_from_the_float_network() -> None:
    """Rounding to 8 bits moves logits by no more than a few per cent."""
    made = model()
    net = learner(made).eval()

    with torch.inference_mode():
        wanted, found = made.net(pictures()), net(pictures())

    assert (found - wanted).norm() < 0.05 * (wanted - wanted.mean(0)).norm()


def test_norms_are_trained_as_in_float() -> None:
    """As torch's own batch norm gives it, up to rounding; so are the statistics.

    All but the one without a convolution before it, which is a layer of its own.
    """
    made = model()
    net = learner(made).train()
    net.reach_(0.0)
    net.ranges.mul_(1.5)  # wide enough for the batch's own statistics
    made.net.train().get_submodule("before").eval()

    found, wanted = net(pictures()), made.net(pictures())

    assert (found - wanted).norm() < 0.1 * (wanted - wanted.mean(0)).norm()
    kept = {name: layer.norm for name, layer in net.layers().items() if layer.norm}
    assert kept.keys() == {"stem", "depth"}
    for name, norm in kept.items():
        plain = made.net.get_submodule(f"{name}_norm")
        torch.testing.assert_close(
            norm.variance, plain.running_var, rtol=0.02, atol=1e-3
        )
        torch.testing.assert_close(norm.mean, plain.running_mean, rtol=0.02, atol=0.02)


def test_frozen_late_is_frozen() -> None:
    """Before the share is reached buffers move; after it, not a bit of them."""
    net = fresh(until=0.5)
    begun = copy.deepcopy(dict(net.named_buffers()))

    steps_(net, share=0.49)
    halfway = copy.deepcopy(dict(net.named_buffers()))
    steps_(net, share=0.5)

    moved = {name for name, value in halfway.items() if not value.equal(begun[name])}
    assert moved == begun.keys() - {"first_grids"}
    for name, value in net.named_buffers():
        assert value.equal(halfway[name])


def test_a_channel_that_is_scaled_by_nothing_stays_finite() -> None:
    """Folding divides by the scale again while statistics are gathered."""
    made = model()
    with torch.no_grad():
        made.net.get_submodule("stem_norm").weight[2] = 0.0  # type: ignore[operator]
    net = learner(made)

    steps_(net)

    assert all(value.isfinite().all() for value in net.state_dict().values())


@pytest.mark.parametrize("lsq", [False, True])
def test_trained_grids_obey_the_rules(lsq: bool) -> None:
    net = fresh(lsq=lsq)
    steps_(net)

    made = net.quantized()

    grids = made.scheme.activations
    nodes = {node.name: node for node in made.graph.graph.nodes}
    (added,) = (n for n in nodes.values() if n.target is ATEN.add.Tensor)
    met = [*inputs_of(added, rule_of(added)), added]  # type: ignore[arg-type]
    assert len({grids[node.name].scale for node in met}) == 1
    products = [n.name for n in nodes.values() if n.target is ATEN.mul.Tensor]
    assert all(grids[name].zero_point % 2 == 0 for name in products)
    gates = [n for n in nodes.values() if n.target is ATEN.hardsigmoid.default]
    for gate in gates:
        source, read = grids[gate.args[0].name], grids[gate.name]
        assert read.zero_point == -128
        assert source.scale == pytest.approx(6 * read.scale, rel=1e-6)
    assert grids["image"] == fresh().grids()["image"]
    means = [n for n in nodes.values() if n.target is MEAN and n.name in grids]
    assert means
    for mean in means:
        (count,) = counts_of(mean)
        sums = torch.arange(-255 * count, 255 * count + 1, dtype=torch.float64)
        source, target = grids[mean.args[0].name], grids[mean.name]
        places = sums * (source.scale / target.scale / count)
        assert (places - places.floor() - 0.5).abs().min() > 2e-4  # steps


def test_learnt_scales_move_and_those_of_a_sum_stay_one() -> None:
    net = fresh(lsq=True)
    begun = net.quantized().scheme

    steps_(net)

    found = net.quantized().scheme
    moved = {n for n, grid in found.activations.items() if grid != begun.activations[n]}
    assert moved == set(net.shares)
    assert all(
        found.activations[name].zero_point == begun.activations[name].zero_point
        for name in moved
    )


def test_averaging_a_network_averages_what_it_learns() -> None:
    """As `--ema` does it: a copy whose tensors, buffers too, follow."""
    net = fresh()
    average = torch.optim.swa_utils.AveragedModel(net, use_buffers=True)
    steps_(net)
    average.update_parameters(net)
    steps_(net)
    average.update_parameters(net)

    inner = average.module

    assert isinstance(inner, QatNet)
    assert not inner.ranges.equal(net.ranges)
    with torch.inference_mode():
        torch.testing.assert_close(
            inner.quantized()(pictures(9)), inner.eval()(pictures(9)), rtol=0, atol=2e-5
        )


def test_half_precision_is_for_the_sums_alone() -> None:
    """Under autocast tensors still lie on their grids, and gradients are finite."""
    net = fresh().train()
    net.reach_(0.0)

    with torch.autocast("cpu", torch.bfloat16):
        loss = net(pictures()).float().square().mean()
    loss.backward()

    assert net.ranges.dtype == torch.float32
    assert all(value.grad.isfinite().all() for value in net.parameters())  # type: ignore[union-attr]


def test_a_trained_network_survives_on_disk() -> None:
    """Its numbers are enough to build it again on the float network's own graph."""
    made = model()
    net = learner(made)
    steps_(net)
    int8 = net.quantized()

    record = record_as(Int8Record, record_of(int8), source="a record")
    again = rebuilt(made.net, record, tensors_of(int8), size=SIZE, name="tiny")

    with torch.inference_mode():
        assert torch.equal(again(pictures(9)), int8(pictures(9)))
