"""A network that was cut comes back from its architecture's name and a record."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.context.console import Console
from compress.models.build import build, skeleton
from compress.models.checkpoint import (
    RECORD,
    load_model,
    save_model,
    weights_digest,
)
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.models.surgery.differences import widths_between
from compress.models.surgery.rebuild import rebuilt
from compress.models.surgery.record import Factorized, Surgery, Widths
from runtime.errors import InputRejectedError
from runtime.files import read_json, write_json

QUIET = Console(verbosity="quiet")
CUT = "layer1.0.conv1"


def whole(name: str = "resnet20", size: int = 32) -> Model:
    """A small model, nothing cut."""
    return build(
        ModelSpec(name=name),
        classes=("a", "b", "c"),
        native_size=size,
        size=size,
        seed=7,
        console=QUIET,
    )


def thinned(net: nn.Module) -> nn.Module:
    """A copy of a CIFAR ResNet without six channels inside its first block, by hand."""
    net = copy.deepcopy(net)
    block: Any = net.layer1[0]  # type: ignore[index]
    kept = [1, 3, 4, 6, 8, 9, 11, 12, 14, 15]
    block.conv1.weight = nn.Parameter(block.conv1.weight[kept])
    block.conv1.out_channels = block.bn1.num_features = block.conv2.in_channels = 10
    block.conv2.weight = nn.Parameter(block.conv2.weight[:, kept])
    for name in ("weight", "bias"):
        setattr(block.bn1, name, nn.Parameter(getattr(block.bn1, name)[kept]))
    for name in ("running_mean", "running_var"):
        setattr(block.bn1, name, getattr(block.bn1, name)[kept])
    return net


@pytest.fixture(scope="module")
def cut() -> Model:
    """A ResNet-20 with a thin first block and a last block that is the identity."""
    model = whole()
    removed = ("layer3.2",)
    shorter = rebuilt(model.net, Surgery(removed=removed))
    net = thinned(shorter)
    widths = widths_between(shorter, net)
    return model.operated(net.eval(), Surgery(removed=removed, widths=widths))


@pytest.fixture
def saved(cut: Model, tmp_path: Path) -> Path:
    """The folder it was saved into."""
    save_model(cut, tmp_path / "saved")
    return tmp_path / "saved"


def test_differences_name_the_axes_and_numbers_that_changed(cut: Model) -> None:
    """Three modules, nothing else; what is as it was stays open."""
    assert cut.surgery.widths == {
        "layer1.0.conv1": Widths(
            shapes={"weight": (10, None, None, None)}, counts={"out_channels": 10}
        ),
        "layer1.0.bn1": Widths(
            shapes=dict.fromkeys(
                ("weight", "bias", "running_mean", "running_var"), (10,)
            ),
            counts={"num_features": 10},
        ),
        "layer1.0.conv2": Widths(
            shapes={"weight": (None, 10, None, None)}, counts={"in_channels": 10}
        ),
    }


def test_a_cut_model_comes_back_bit_for_bit(cut: Model, saved: Path) -> None:
    again = load_model(saved)

    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.net(images), cut.net(images))
        assert torch.equal(load_model(saved).net(images), cut.net(images))
    assert again.surgery == cut.surgery
    assert weights_digest(again) == weights_digest(cut)
    assert weights_digest(whole()) != weights_digest(cut)


def test_the_record_is_enough_without_this_project(cut: Model, saved: Path) -> None:
    """The oracle: a loader that reads the two files and knows nothing of ours."""
    from safetensors.torch import load_file

    record = json.loads((saved / RECORD).read_text(encoding="utf-8"))
    net = whole().net
    for name in record["surgery"]["removed"]:
        net.set_submodule(name, nn.Identity())
    state = load_file(saved / "model.safetensors")
    for path, value in state.items():
        module, _, name = path.rpartition(".")
        owner = net.get_submodule(module)
        place = owner._parameters if name in owner._parameters else owner._buffers
        place[name] = nn.Parameter(value) if place is owner._parameters else value
    for path, widths in record["surgery"]["widths"].items():
        for name, count in widths["counts"].items():
            setattr(net.get_submodule(path), name, count)

    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net.eval()(images), cut.net(images))


def test_rebuilding_leaves_the_architecture_as_it_was(cut: Model) -> None:
    net = whole().net
    before = {name: tuple(t.shape) for name, t in net.state_dict().items()}

    rebuilt(net, cut.surgery)

    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == before


def test_a_cut_model_may_be_given_other_classes(saved: Path) -> None:
    """The head starts fresh, all that was cut stays cut and keeps its weights."""
    spec = load_model(saved).spec.model_copy(
        update={"weights": str(saved / "model.safetensors")}
    )
    other = build(spec, classes=("x", "y"), native_size=32, seed=0, console=QUIET)

    assert other.net(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    assert other.net.get_submodule(CUT).weight.shape == (10, 16, 3, 3)
    kept = load_model(saved).net.get_submodule(CUT).weight
    assert torch.equal(other.net.get_submodule(CUT).weight, kept)  # type: ignore[arg-type]


def test_a_network_from_before_there_was_surgery_loads(tmp_path: Path) -> None:
    model = whole()
    save_model(model, tmp_path)
    record = read_json(tmp_path / RECORD)
    assert record.pop("surgery") is None
    write_json(tmp_path / RECORD, record)

    assert weights_digest(load_model(tmp_path)) == weights_digest(model)


def test_split_layers_come_back_and_may_be_cut_too(tmp_path: Path) -> None:
    """A linear layer, a 1x1 and a 3x3 convolution; strides stay where they were."""
    model = whole("resnet18", size=64)
    surgery = Surgery(
        factorised={
            "fc": Factorized(kind="linear", ranks=(2,)),
            "layer2.0.downsample.0": Factorized(kind="conv1x1", ranks=(24,)),
            "layer2.0.conv1": Factorized(kind="tucker2", ranks=(16, 40)),
        },
        widths={
            "layer2.0.downsample.0.0": Widths(
                shapes={"weight": (20, None, None, None)}, counts={"out_channels": 20}
            ),
            "layer2.0.downsample.0.1": Widths(
                shapes={"weight": (None, 20, None, None)}, counts={"in_channels": 20}
            ),
        },
    )
    images = torch.rand(1, 3, 64, 64)
    net = rebuilt(model.net, surgery).eval()
    shapes = [
        tuple(p.shape) for n, p in net.named_parameters() if "layer2.0.conv1" in n
    ]
    assert shapes == [(16, 64, 1, 1), (40, 16, 3, 3), (128, 40, 1, 1)]

    save_model(model.operated(net, surgery), tmp_path)

    with torch.no_grad():
        assert torch.equal(load_model(tmp_path).net(images), net(images))


def change(**fields: object) -> Callable[[dict[str, Any]], None]:
    """Change the record of the thinned convolution."""

    def changed(surgery: dict[str, Any]) -> None:
        surgery["widths"][CUT] |= fields

    return changed


def more(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Put another entry into the record."""

    def changed(surgery: dict[str, Any]) -> None:
        surgery[key] = value

    return changed


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (
            change(shapes={"weight": [10**12, None, None, None]}),
            f"{CUT}.weight.*cannot",
        ),
        (change(shapes={"weight": [17, None, None, None]}), f"{CUT}.weight.*cannot"),
        (change(shapes={"weight": [10]}), f"{CUT}.weight.*cannot be cut"),
        (change(shapes={"weight": [0, None, None, None]}), "surgery: .*greater than 0"),
        (change(shapes={"weight": ["10"]}), "surgery: .*valid integer"),
        (change(shapes={"wait": [10]}), f"{CUT}.*no tensor 'wait'"),
        (change(counts={"out_channels": 17}), f"{CUT}.*out_channels cannot become 17"),
        (change(counts={"training": 0}), f"{CUT}.*training cannot become 0"),
        (change(counts={"forward": 1}), f"{CUT}.*forward cannot become 1"),
        (change(counts={"groups": 0}), f"{CUT}.*Invalid channel"),
        (change(shapes={"weight": [9, None, None, None]}), "layer1.0.bn1.*9"),
        (more("widths", {"layer9": {}}), "layer9.*no such module"),
        (more("removed", ["layer9"]), "layer9.*no such module"),
        (more("removed", [""]), "no such module"),
        (more("removed", ["layer2.0"]), "layer2.1.conv1.*Invalid channel"),
        (more("masked", {"layer9.weight": "2:4"}), "layer9.weight.*no such parameter"),
        (more("factorised", {"linear": {"kind": "conv1x1", "ranks": [1]}}), "linear"),
        (more("factorised", {"linear": {"kind": "linear", "ranks": [9]}}), "linear"),
        (more("factorised", {"linear": {"kind": "linear", "ranks": [1, 1]}}), "linear"),
        (more("factorised", {"conv1": {"kind": "linear", "ranks": [1]}}), "conv1"),
        (more("color", 1), "surgery: .*color"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    saved: Path, tamper: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    """One sentence that names file and module, before any memory is asked for."""
    record: dict[str, Any] = read_json(saved / RECORD)
    tamper(record["surgery"])
    write_json(saved / RECORD, record)

    with pytest.raises(InputRejectedError, match=f"{RECORD}.*{sentence}") as error:
        load_model(saved)
    assert "\n" not in str(error.value)


def test_another_version_of_the_architecture_is_refused(cut: Model) -> None:
    """As if a library had renamed a layer since."""
    net = whole().net
    net.layer1[0].first = net.layer1[0].conv1  # type: ignore[index, union-attr]
    del net.layer1[0].conv1  # type: ignore[index, union-attr]

    with pytest.raises(InputRejectedError, match=r"layer1\.0\.conv1.*prune again"):
        rebuilt(net, cut.surgery)


def test_a_cut_model_is_quantized_saved_and_answers_alike(
    cut: Model, tmp_path: Path
) -> None:
    """INT8 is put back on the graph of the cut network, not of the whole one."""
    from compress.int8.canonicalize import canonical_
    from compress.int8.capture import captured
    from compress.quantization.ptq import Methods, quantized

    images = torch.rand(4, 3, 32, 32)
    graph = captured(cut.net, size=32, name="cut")
    canonical_(graph)
    methods = Methods(ranges="minmax")
    net = quantized(graph, lambda: iter([images]), methods=methods, levels=None)

    save_model(cut.with_net(net.eval()), tmp_path)

    with torch.no_grad():
        assert torch.equal(load_model(tmp_path).net(images), net(images))


def test_a_cut_network_of_a_users_spec_builds_again() -> None:
    """Whoever has the spec has the surgery: the same shapes, on no memory at all."""
    model = whole()
    net = thinned(model.net)
    spec = model.spec.with_surgery(Surgery(widths=widths_between(model.net, net)))
    with torch.device("meta"):
        again = skeleton(spec, classes=3, size=32)

    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in net.state_dict().items()
    }


def test_what_was_done_inside_a_removed_block_is_forgotten(cut: Model) -> None:
    surgery = cut.surgery.model_copy(update={"masked": {f"{CUT}.weight": "2:4"}})

    shorter = surgery.without(("layer1.0",))

    assert shorter == Surgery(removed=("layer3.2", "layer1.0"))
    rebuilt(whole().net, shorter)
