"""The canonical graph computes what the network does, in operators the table knows."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import ATEN, captured
from compress.int8.norms import BATCH_NORM
from compress.int8.operators import TABLE, check_arguments, rule_of
from runtime.errors import InputRejectedError

# One of each kind of graph; the whole model table is in test_int8_families.py.
KINDS = (
    "mobilenetv3_small_050",  # hard-swish, squeeze-and-excite
    "resnet18",  # residual sums under a ReLU
    "resnetv2_18",  # batch norms that follow no convolution
    "shufflenet_v2_x0_5",  # splits, shuffles, concatenations
    "squeezenet1_1",  # no linear layer at its end
    "tf_efficientnet_lite0",  # padding to one side, ReLU6
)


@pytest.mark.parametrize("name", KINDS)
def test_the_canonical_graph_answers_as_the_network(
    name: str, quantized: Callable[..., object]
) -> None:
    made = quantized(name)
    with torch.inference_mode():
        want, have = made.net(made.images), made.graph(made.images)  # type: ignore[attr-defined]
    assert (want - have).abs().max() <= 1e-4 * want.abs().max()


@pytest.mark.parametrize("name", KINDS)
def test_the_table_knows_every_operator(
    name: str, quantized: Callable[..., object]
) -> None:
    graph = quantized(name).graph.graph  # type: ignore[attr-defined]
    called = {node.target for node in graph.nodes if node.op == "call_function"}
    assert called <= set(TABLE)


class Swished(nn.Module):
    """Everything that a rewrite takes apart, in a few layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.reduce = nn.Conv2d(8, 4, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.hardswish(self.norm(self.stem(images)))
        pooled = features.mean((2, 3), keepdim=True)
        gate = nn.functional.hardsigmoid(self.expand(self.reduce(pooled).relu()))
        features = nn.functional.silu(features * gate)
        pooled = nn.functional.adaptive_avg_pool2d(features, 1)
        return self.head(nn.functional.dropout(pooled, 0.5, self.training)).flatten(1)


def test_each_rewrite_leaves_the_operators_it_promises() -> None:
    net = Swished().eval()
    graph = captured(net, size=16, name="swished")
    canonical_(graph)
    called = Counter(n.target for n in graph.graph.nodes if n.op == "call_function")
    assert BATCH_NORM not in called
    assert ATEN.mean.dim not in called
    assert called[ATEN.hardsigmoid.default] == 1  # of h-swish; the gate's is folded
    assert called[ATEN.hardtanh.default] == 1  # which is this clamp to [0, 1]
    assert called[ATEN.sigmoid.default] == 1
    assert called[ATEN.mul.Tensor] == 3
    assert called[ATEN.linear.default] == 1  # the last convolution
    images = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(graph(images), net(images), atol=1e-5)


class Pooled(nn.Module):
    """One pool, and a global one for the answer."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        # Not all places weigh the same, or a wrong edge might cancel out.
        pooled = self.pool(images)
        return (pooled * pooled).mean((2, 3))


@pytest.mark.parametrize("window", [(3, 1, 1), (3, 2, 1), (2, 2, 0), (4, 3, 1)])
@pytest.mark.parametrize(
    ("ceil", "counted", "divisor"),
    [
        *((False, True, None), (False, False, None), (True, True, None)),
        *((True, False, None), (True, False, 5)),
    ],
)
def test_averages_are_convolutions_whatever_their_edges(
    window: tuple[int, int, int], ceil: bool, counted: bool, divisor: int | None
) -> None:
    """Windows at edges, not counted or cut short, against torch's own pool."""
    pool = nn.AvgPool2d(
        *window,
        ceil_mode=ceil,
        count_include_pad=counted,
        divisor_override=divisor,
    )
    net = Pooled(pool).eval()
    graph = captured(net, size=15, name="pooled")
    canonical_(graph)
    assert ATEN.avg_pool2d.default not in {node.target for node in graph.graph.nodes}
    images = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(graph(images), net(images))


@pytest.mark.parametrize(
    ("bins", "operator"),
    [
        (12, None),  # nothing to do
        (4, ATEN.conv2d.default),
        (24, ATEN.upsample_nearest2d.vec),
        (7, ATEN.adaptive_avg_pool2d.default),  # uneven: stays as it is, in float
    ],
)
def test_adaptive_averages_are_plain_where_windows_are_alike(
    bins: int, operator: object
) -> None:
    net = Pooled(nn.AdaptiveAvgPool2d(bins)).eval()
    graph = captured(net, size=12, name="pooled")
    canonical_(graph)
    first = next(node for node in graph.graph.nodes if node.op == "call_function")
    assert first.target is (operator or ATEN.mul.Tensor)
    assert (rule_of(first) is None) == (bins == 7)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(graph(images), net(images))


class Meaning(nn.Module):
    """Means of a large map, and means that others have a say in."""

    def forward(self, images: Tensor) -> Tensor:
        x = images + images.mean((2, 3), keepdim=True)
        y = nn.functional.adaptive_avg_pool2d(x, 1)
        return torch.cat([y, nn.functional.hardswish(y)], 1).flatten(1)


@pytest.mark.parametrize("size", [56, 57, 113, 230])
def test_means_of_large_maps_are_taken_in_two_steps(size: int) -> None:
    """Of the same numbers, whatever the windows do at the edges."""
    graph = captured(Meaning(), size=size, name="means")
    canonical_(graph)

    images = torch.rand(2, 3, size, size)
    torch.testing.assert_close(graph(images), Meaning()(images), rtol=0, atol=1e-6)
    nodes = list(graph.graph.nodes)
    means = [n for n in nodes if n.target is ATEN.adaptive_avg_pool2d.default]
    places = [images.new_empty(n.args[0].meta["val"].shape[2:]).numel() for n in means]
    assert len(places) == 2
    assert max(places) <= 3136
    # A sum, a concatenation and h-swish read copies, which join their grids.
    read = {user.target for mean in means for user in mean.users}
    assert read == {ATEN.conv2d.default}


class Scaled(nn.Module):
    """A layer scale, as ConvNeXt has them."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor([0.5, 2.0, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.gamma.reshape(1, -1, 1, 1)).mean((2, 3))


def test_what_reads_only_weights_is_computed_once() -> None:
    net = Scaled().eval()
    graph = captured(net, size=8, name="scaled")
    canonical_(graph)
    called = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert ATEN.reshape.default not in called
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph(images), net(images))


def test_nodes_are_called_after_their_layers() -> None:
    graph = captured(Swished().eval(), size=16, name="swished")
    names = [node.name for node in graph.graph.nodes if node.op != "get_attr"]
    assert names[0] == "image"
    assert {"stem", "reduce", "expand", "head"} <= set(names)


def test_the_graph_takes_any_number_of_images() -> None:
    graph = captured(Swished().eval(), size=16, name="swished")
    for count in (1, 2, 5):
        assert graph(torch.zeros(count, 3, 16, 16)).shape == (count, 5)


def test_the_network_keeps_its_weights() -> None:
    net = Swished().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    canonical_(captured(net, size=16, name="swished"))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


class Undecided(nn.Module):
    """Decides by the values that it sees."""

    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 0:
            return images.mean((2, 3))
        return images.amax((2, 3))


def test_dynamic_control_flow_is_told_with_its_line() -> None:
    with pytest.raises(InputRejectedError, match=r"line \d+ \(if images.sum"):
        captured(Undecided(), size=16, name="undecided")


class EdgedPool(nn.Module):
    """A maximum over windows of what was padded with the least number there is."""

    def __init__(self, edges: tuple[int, ...], window: int, step: int) -> None:
        super().__init__()
        self.edges, self.window, self.step = edges, window, step

    def forward(self, images: Tensor) -> Tensor:
        padded = nn.functional.pad(images, self.edges, value=float("-inf"))
        pooled = nn.functional.max_pool2d(padded, self.window, self.step)
        return pooled.flatten(1)


@pytest.mark.parametrize("size", [14, 15])
@pytest.mark.parametrize(
    ("edges", "window", "step", "folded"),
    [
        ((0, 1, 0, 1), 3, 2, True),  # TensorFlow's "same"
        ((1, 1, 1, 1), 3, 2, True),
        ((1, 2, 1, 2), 4, 2, True),
        ((1, 0, 1, 0), 3, 1, True),  # a window less at the far side
        ((0, 0, 1, 0), 2, 2, True),
        ((2, 0, 2, 0), 3, 1, False),  # more than a pool may pad
    ],
)
def test_pools_pad_themselves_where_they_can(
    edges: tuple[int, ...], window: int, step: int, folded: bool, size: int
) -> None:
    """To the last number; what no pool can say stays float, and has no grid."""
    net = EdgedPool(edges, window, step).eval()
    graph = captured(net, size=size, name="pool")
    canonical_(graph)
    pads = [node for node in graph.graph.nodes if node.target is ATEN.pad.default]
    assert not pads if folded else [rule_of(node) for node in pads] == [None]
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(graph(images), net(images), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("kernel", [3, 4])
def test_convolutions_pad_in_numbers(kernel: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, kernel, padding="same"), nn.Flatten()).eval()
    graph = captured(net, size=8, name="same")
    canonical_(graph)
    called = {node.target for node in graph.graph.nodes if node.op == "call_function"}
    assert called <= set(TABLE)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph(images), net(images))


class Parted(nn.Module):
    """Every way to take a map apart."""

    def forward(self, images: Tensor) -> Tensor:
        first, _ = images.split(2, 1)
        second, third = images.split([1, 2], 1)
        fourth, _ = images.chunk(2, 1)
        rows = images.unbind(2)
        parts = [first, second, third, fourth]
        return torch.cat([*(part.mean((2, 3)) for part in parts), rows[1][:, :, 0]], 1)


def test_parts_are_slices() -> None:
    net = Parted().eval()
    graph = captured(net, size=6, name="parted")
    canonical_(graph)
    called = {node.target for node in graph.graph.nodes if node.op == "call_function"}
    assert called <= set(TABLE)
    images = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(graph(images), net(images))


def test_an_argument_that_no_kernel_knows_is_refused_by_naming_the_layer() -> None:
    """As sums once lost their factor: an answer without an error, and a wrong one."""
    graph = torch.fx.Graph()
    image = graph.placeholder("image")
    plain = graph.call_function(ATEN.add.Tensor, (image, image))
    node = graph.call_function(ATEN.add.Tensor, (image, image), {"alpha": 0.25})
    node._rename("block_2_sum")

    check_arguments(plain)
    with pytest.raises(InputRejectedError, match=r"block_2_sum: .*alpha=0.25"):
        check_arguments(node)


class Doubled(nn.Module):
    """A layer's output, and a share of itself on top."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        once = self.layer(images)
        return torch.add(once, once, alpha=0.5).flatten(1)


def test_a_share_of_itself_leaves_the_tensor_alone() -> None:
    """Scaling the layer would scale both operands."""
    torch.manual_seed(0)
    net = Doubled().eval()
    images = torch.randn(2, 3, 8, 8)
    graph = captured(net, size=8, name="doubled")

    canonical_(graph)

    torch.testing.assert_close(graph(images), net(images))
