"""A training with little to go by: told before it starts, and doubted afterwards."""

from typing import Final

from compress.data.data import Images
from compress.models.model import Model
from compress.recipe.training import Training

# With random weights; the digits, which networks do learn from scratch, have 143.
_FEW_OF_A_CLASS: Final = 100


def doubt_of(model: Model, images: Images, options: Training) -> str | None:
    """Why not to trust what `model` will have learnt from `images`; None is no reason.

    Weights of an earlier training know edges and textures, which a few dozen photos of
    a class do not teach.
    """
    drawn = options.init is not None
    each = len(images) / max(1, len(model.classes))
    if (model.trained and not drawn) or each >= _FEW_OF_A_CLASS:
        return None
    return (
        f"{model.spec.name} learns from random weights on {len(images):,} images, "
        f"{each:.0f} a class; that is few: start from weights that were trained "
        "(--weights), or give it more images"
    )
