"""Mixup and CutMix: two images become one, and so do their labels."""

import torch

from compress.context.vision import torchvision
from compress.data.data import Batch
from compress.recipe.training import Training


def mixed(batch: Batch, options: Training, *, classes: int) -> Batch:
    """Blend the images of `batch` with each other where `options` ask for it.

    The pixels become float32 (0 to 255) and the labels float [n, classes]. Mixup is
    Zhang et al. 2018, CutMix Yun et al. 2019; with both, a coin decides. Chance comes
    from torch's generator, which the training loop seeds for every step.
    """
    v2 = torchvision.transforms.v2
    choices = []
    if options.mixup > 0:
        choices.append(v2.MixUp(alpha=options.mixup, num_classes=classes))
    if options.cutmix > 0:
        choices.append(v2.CutMix(alpha=options.cutmix, num_classes=classes))
    if not choices:
        return batch
    chosen = choices[int(torch.randint(len(choices), ()))]
    pixels, labels = chosen(batch.pixels.to(torch.float32), batch.labels)
    return batch._replace(pixels=pixels, labels=labels)
