"""What learns, how fast and from which weights: against closed forms."""

import copy
import itertools
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from compress.context.vision import timm
from compress.models.nets.cifar_resnet import CifarResNet
from compress.recipe.training import CHOSEN, DEFAULTS, Training
from compress.training.fit import fit
from compress.training.optimizer import he_init_, make_ready_, optimizer_for, set_rate_
from runtime.errors import RecipeError


def transformer() -> nn.Module:
    """A vision transformer of two blocks, as timm makes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = timm.models.vision_transformer.VisionTransformer(
            img_size=8,
            patch_size=4,
            embed_dim=8,
            depth=2,
            num_heads=2,
            num_classes=3,
        )
    return net


def rate_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> float:
    """The learning rate of one parameter."""
    (group,) = (
        group
        for group in optimizer.param_groups
        if any(parameter is each for each in group["params"])
    )
    return float(group["lr"])


def trained(
    tiny: ModuleType, folder: Path, net: nn.Module, **fields: object
) -> nn.Module:
    """What a short training makes of a copy of `net`."""
    case = tiny.model(net), tiny.data(train=16), tiny.cross_entropy
    result: nn.Module = fit(*case, tiny.options(**fields), tiny.context(folder)).net
    return result


@pytest.mark.parametrize(
    ("family", "optimizer", "schedule", "warms_up"),
    [
        ("resnet", torch.optim.SGD, {"step", "cosine"}, None),
        ("vgg", torch.optim.SGD, {"step", "cosine"}, None),
        ("mobilenet", torch.optim.AdamW, {"cosine"}, True),
        ("efficientnet", torch.optim.AdamW, {"cosine"}, True),
    ],
)
def test_defaults_suit_the_family(
    tiny: ModuleType,
    family: str,
    optimizer: type,
    schedule: set[str],
    warms_up: bool | None,
) -> None:
    """ResNet/VGG: SGD + step or cosine; MobileNet/EfficientNet: cosine + warm-up."""
    options = Training().training(family)  # type: ignore[arg-type]

    made = optimizer_for(tiny.net(), options)

    assert type(made) is optimizer
    assert options.schedule in schedule
    assert warms_up is None or (options.warmup or 0) > 0
    assert None not in (options.learning_rate, options.weight_decay, options.warmup)


def test_the_default_rate_grows_with_the_batch() -> None:
    """Linear scaling (Goyal et al. 2017); a rate that is given stays as it is."""
    small = Training(batch_size=32).training("resnet")
    large = Training(batch_size=128).training("resnet")
    given = Training(batch_size=128, learning_rate=0.3).training("resnet")

    assert large.learning_rate == pytest.approx(4 * (small.learning_rate or 0))
    assert given.learning_rate == 0.3


def test_another_optimizer_brings_its_own_rate() -> None:
    """AdamW at the rate of SGD would diverge, so the rate follows the optimizer."""
    chosen = Training(optimizer="adamw", batch_size=256).training("resnet")

    assert chosen.learning_rate == CHOSEN["adamw"][0] < DEFAULTS["resnet"][1]
    assert chosen.schedule == "cosine"


def test_what_has_learnt_already_is_tuned_with_a_tenth_of_the_rate() -> None:
    fresh, tuned = (Training().training("resnet", trained=t) for t in (False, True))

    assert tuned.learning_rate == pytest.approx((fresh.learning_rate or 0) / 10)
    assert tuned.model_copy(update={"learning_rate": fresh.learning_rate}) == fresh


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_and_norms_are_not_decayed(tiny: ModuleType, optimizer: str) -> None:
    """Without gradient only decay moves a weight: w (1 - rate * decay) each step."""
    net = tiny.net()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.5)
    options = tiny.options(
        epochs=1, optimizer=optimizer, learning_rate=0.1, weight_decay=0.5
    ).training("other")
    steps = optimizer_for(net, options)
    set_rate_(steps, 0.1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)

    steps.step()

    # Nesterov adds momentum times the decay's own buffer on its first step.
    share = 0.5 * 0.1 * (1.9 if optimizer == "sgd" else 1.0)
    for name, parameter in net.named_parameters():
        expected = 0.5 * (1 - share) if parameter.dim() > 1 else 0.5
        torch.testing.assert_close(
            parameter, torch.full_like(parameter, expected), msg=name
        )


def test_each_layer_learns_at_its_share_of_the_next() -> None:
    """Head, norm before it, block 1, block 0, embedding: each half of the one above."""
    net = transformer()
    options = Training(learning_rate=1.0, layer_decay=0.5).training("transformer")
    steps = optimizer_for(net, options)

    set_rate_(steps, 0.8)

    found = {
        name: rate_of(steps, parameter) for name, parameter in net.named_parameters()
    }
    head = found["head.weight"]
    assert head == found["head.bias"] == pytest.approx(0.8)
    ladder = ["blocks.1.mlp.fc1.weight", "blocks.0.mlp.fc1.weight"]
    ladder.append("patch_embed.proj.weight")
    rates = [found[name] for name in ladder]
    assert rates[0] <= head / 2
    for upper, lower in itertools.pairwise(rates):
        assert lower == pytest.approx(upper / 2)


def test_layer_decay_knows_our_own_residual_networks() -> None:
    """Nine blocks between stem and head: eleven rates, each half of the next."""
    net = CifarResNet(blocks=3)
    options = Training(learning_rate=1.0, layer_decay=0.5).training("resnet")
    steps = optimizer_for(net, options)

    set_rate_(steps, 1.0)

    rates = {rate_of(steps, parameter) for parameter in net.parameters()}
    assert sorted(rates, reverse=True) == pytest.approx([0.5**i for i in range(11)])
    assert rate_of(steps, net.linear.weight) == 1.0
    assert rate_of(steps, net.conv1.weight) == 0.5**10


def test_layer_decay_needs_layers_in_order(tiny: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="layer_decay: the layers of Sequential"):
        trained(tiny, tmp_path, tiny.net(), layer_decay=0.5)


def test_without_layer_decay_every_layer_learns_alike() -> None:
    net = transformer()
    steps = optimizer_for(net, Training(learning_rate=1.0).training("transformer"))

    set_rate_(steps, 0.3)

    assert {rate_of(steps, parameter) for parameter in net.parameters()} == {0.3}


def test_frozen_modules_stay_and_the_rest_learns(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Weights, biases and running statistics of module 0 and 1 are bit-equal after."""
    net = tiny.net()
    before = copy.deepcopy(net.state_dict())

    after = trained(
        tiny, tmp_path, net, freeze=("0", "1"), weight_decay=0.1
    ).state_dict()

    for name, value in before.items():
        assert torch.equal(after[name], value) == (not name.startswith("6.")), name


def test_an_unknown_module_to_freeze_lists_the_topmost(
    tiny: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"freeze: no module 'stem'; .* are 0, 1, 2"):
        trained(tiny, tmp_path, tiny.net(), freeze=("stem",))


def test_freezing_everything_leaves_nothing_to_learn(
    tiny: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="nothing is left to learn"):
        trained(tiny, tmp_path, tiny.net(), freeze=("0", "1", "6"))


def test_frozen_batchnorm_keeps_statistics_and_scales(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """All of the norm is bit-equal after; without the option nothing of it is."""
    net = tiny.net()
    before = copy.deepcopy(net[1].state_dict())

    frozen = trained(tiny, tmp_path / "a", net, freeze_batchnorm=True)
    free = trained(tiny, tmp_path / "b", net)

    assert tiny.same(frozen[1].state_dict(), before)  # type: ignore[index]
    changed = free[1].state_dict()  # type: ignore[index]
    assert not any(torch.equal(changed[name], before[name]) for name in before)
    assert not torch.equal(frozen[0].weight, net[0].weight)  # type: ignore[index]


def test_gradient_checkpointing_changes_no_weight(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations are recomputed, once a block and step; the result is the same."""
    made, recomputed = torch.utils.checkpoint.checkpoint, []

    def counted(*arguments: object, **options: object) -> object:
        recomputed.append(1)
        return made(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", counted)
    monkeypatch.setattr(timm.models._manipulate, "checkpoint", counted)
    plain = trained(tiny, tmp_path / "plain", transformer())
    assert recomputed == []
    saving = trained(
        tiny, tmp_path / "saving", transformer(), gradient_checkpointing=True
    )

    assert len(recomputed) >= 4  # two epochs of two steps
    torch.testing.assert_close(
        saving.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-6
    )
    assert not saving.grad_checkpointing  # training is over: an export sees plain code


@pytest.mark.parametrize("kind", ["sequential", "vgg"])
def test_a_net_that_cannot_checkpoint_says_so(tiny: ModuleType, kind: str) -> None:
    """A plain net has no such method; timm's VGG has one that asserts."""
    net = tiny.net()
    if kind == "vgg":
        with torch.device("meta"):  # its memory is not needed
            net = timm.create_model("vgg11", num_classes=3)
    with pytest.raises(RecipeError, match=r"gradient_checkpointing: .* does not offer"):
        make_ready_(net, Training(gradient_checkpointing=True), seed=0)


def test_he_initialization_has_the_papers_deviation() -> None:
    """Equation 10: the variance of a weight is 2 over the inputs of its neuron."""
    net = nn.Sequential(
        nn.Conv2d(64, 32, 3),
        nn.Conv2d(512, 512, 5, groups=512),
        nn.Linear(400, 10),
        nn.BatchNorm2d(7),
        nn.LayerNorm(6),
    )
    for parameter in net.parameters():
        nn.init.constant_(parameter, 3.0)
    assert isinstance(net[3], nn.BatchNorm2d)
    nn.init.constant_(net[3].running_mean, 9.0)

    he_init_(net, seed=1)

    for place, inputs in {0: 64 * 9, 1: 25, 2: 400}.items():
        weight = net[place].weight
        assert isinstance(weight, Tensor)
        weight = weight.detach()
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / inputs), rel=0.05)
        assert abs(float(weight.mean())) < 0.1 * math.sqrt(2 / inputs)
        assert not net[place].bias.any()  # type: ignore[operator, union-attr]
    for norm in (net[3], net[4]):
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))  # type: ignore[arg-type]
        assert not norm.bias.any()  # type: ignore[operator, union-attr]
    assert not net[3].running_mean.any()  # type: ignore[union-attr]


def test_he_initialization_forgets_the_weights_it_was_given(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Two nets of one shape end alike, and not so for another seed."""
    one = trained(tiny, tmp_path / "a", tiny.net(seed=1), init="he").state_dict()
    two = trained(tiny, tmp_path / "b", tiny.net(seed=2), init="he").state_dict()
    kept = trained(tiny, tmp_path / "c", tiny.net(seed=2)).state_dict()

    assert tiny.same(one, two)
    assert not tiny.same(two, kept)
