"""The stage `factorize` at work: choose ranks, split, fit, and train if asked."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from compress.census import count_params
from compress.checkpoint import is_model, load_model, save_model
from compress.int8.calibration import batches_of, calibration_images
from compress.int8.simulate import QuantizedNet
from compress.lowrank.choice import by_energy, by_latency, split_up
from compress.lowrank.layers import spectra_of, splittable
from compress.lowrank.moments import moments_of
from compress.lowrank.record import RECORD
from compress.lowrank.responses import refitted_, shapes_of
from compress.lowrank.timing import device_of, latencies_ms, raced
from compress.models.construct import skeleton
from compress.passes import passed
from compress.promise import Promise
from compress.surgery.differences import widths_between
from compress.surgery.rebuild import rebuilt
from compress.surgery.record import UNTOUCHED, Surgery
from compress.training.fit import fit
from compress.training.taught import taught
from runtime.errors import RecipeError
from runtime.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from compress.data.catalogue import Catalogue
    from compress.int8.calibrate import Batches
    from compress.job import Job
    from compress.lowrank.choice import Choice
    from compress.models.model import Model
    from compress.stages.factorize import Factorize
    from compress.surgery.record import Factorised


def factorised(model: Model, data: Catalogue, job: Job, options: Factorize) -> Model:
    """`model` with layers split as `options` say; findings go to `job.folder`."""
    check(model)
    # Split once: timed again after an interrupt, layers might get other ranks.
    kept = job.folder / "split"
    if is_model(kept):
        made = load_model(kept, factory=model.spec.factory)
    else:
        made = split(model, data, job, options)
        if options.epochs > 0:
            save_model(made, kept)
    if options.epochs == 0:
        return made
    opened = data.open(model.preprocess)
    loss = taught(
        model,
        opened,
        job,
        options,
        share=options.distill,
        temperature=options.temperature,
    )
    return fit(made, opened, loss, options, job)


def check(model: Model) -> None:
    """Refuse what cannot be split, or not by several processes at once."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"factorize: {model.spec.name} is INT8; split the float model it was made "
            "from, and quantise that"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RecipeError(
            "factorize: several processes would disturb each other's timing; run it "
            "in one, and train what it makes with finetune or distill"
        )


def split(model: Model, data: Catalogue, job: Job, options: Factorize) -> Model:
    """`model` with its layers split and fitted to calibration images."""
    dense = copy.deepcopy(model.net).eval()
    layers = {
        name: layer
        for name, layer in splittable(dense, options.layers).items()
        if not any(name.startswith(f"{done}.") for done in model.surgery.factorised)
    }
    images = calibration_images(
        model, data, job, source=options.calib, count=options.calib_images
    )
    batches = batches_of(model, images)
    job.screen.tell(
        f"factorize: {len(layers)} layers, {len(images)} calibration images, timed on "
        f"{device_of(job.aim) or 'this machine'}"
    )
    chosen, latency = chosen_for(model.with_net(dense), layers, batches, job, options)
    hows = split_up(chosen)
    net = copy.deepcopy(dense)
    for each in chosen:
        if each.how is not None:
            net.set_submodule(each.split.name, each.split.made(each.how))
    refitted_(net, dense, tuple(hows), batches)
    made = model.operated(net, surgery_of(model, net, hows))
    record = {
        "latency": latency.as_record() if latency else None,
        "layers": [each.as_record() for each in chosen],
    }
    write_json(job.folder / RECORD, record, sealed=True)
    job.screen.tell(
        f"factorize: {len(hows)} of {len(layers)} layers are products now, "
        f"{count_params(net) / count_params(model.net):.0%} of the parameters are left"
    )
    return made


def chosen_for(
    model: Model,
    layers: Mapping[str, nn.Module],
    batches: Batches,
    job: Job,
    options: Factorize,
) -> tuple[Sequence[Choice], Promise | None]:
    """What becomes of each of `layers`, which are those of `model.net`.

    With what is promised of the latency, where that was asked for.
    """
    net = model.net
    moments = moments_of(net, layers, batches, seed=job.seed)
    splits = [
        spectra_of(name, layers[name], found.responses, found.weights)
        for name, found in passed("spectra of layers", moments.items())
    ]
    shapes = shapes_of(net, layers, size=model.preprocess.size)
    rng = np.random.default_rng(job.seed)

    def race(name: str, candidates: Sequence[nn.Module]) -> Sequence[float]:
        job.screen.detail(f"factorize: {name} and {len(candidates) - 1} others, timed")
        return raced(candidates, shapes[name], job=job, rng=rng)

    multiple = options.round_to
    if options.energy is not None:
        return by_energy(splits, options.energy, multiple=multiple, race=race), None
    from export.to_onnx import qdq_model

    graph = qdq_model(
        net, size=model.preprocess.size, name=model.spec.name, batch="static"
    )
    (network_ms,) = latencies_ms([graph], job=job, rng=rng)
    share = options.latency or 1.0  # one of the two is given
    chosen = by_latency(
        splits, share, multiple=multiple, race=race, network_ms=network_ms
    )
    saved_ms = sum((c.ms_before or 0.0) - (c.ms_after or 0.0) for c in chosen)
    promise = Promise(
        stage=job.title,
        share=share,
        wanted_ms=share * network_ms,
        predicted_ms=network_ms - saved_ms,
        whole_ms=network_ms,
    )
    return chosen, promise


def surgery_of(model: Model, net: nn.Module, hows: Mapping[str, Factorised]) -> Surgery:
    """The record of `net`, which is that of `model` with further layers split.

    Layers are split before widths are cut when a network is built again, so the widths
    of a network that was pruned before are those of the products' parts now.
    """
    before = model.surgery
    masked = {
        name: pattern
        for name, pattern in before.masked.items()
        if name.rpartition(".")[0] not in hows
    }
    known = {"factorised": {**before.factorised, **hows}, "masked": masked}
    surgery = before.model_copy(update=known)
    if not before.widths:
        return surgery
    with torch.random.fork_rng(devices=[]):
        architecture = skeleton(
            model.spec.with_surgery(UNTOUCHED),
            classes=len(model.classes),
            size=model.preprocess.size,
        )
    split_only = Surgery(removed=before.removed, factorised=surgery.factorised)
    widths = widths_between(rebuilt(architecture, split_only), net)
    return surgery.model_copy(update={"widths": widths})
