"""What a network that was made smaller learns from: its former self, and the labels."""

from pydantic import Field

from compress.recipe.quantities import Share
from compress.recipe.training import Training


class Recovery(Training):
    """Training that gives a network back what another step took from it."""

    distill: Share = Field(
        default=0.7,
        ge=0,
        le=1,
        description="weight of the answers that the network gave before against the "
        "labels",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="softens the answers of both networks"
    )
