"""A network that the user's program holds, as it was handed over."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the networks of a spec come from that no name and no file builds.

    module: a copy that nobody else has; key: tells its code from any other's, since
    two classes of one name may compute different things.
    """

    module: nn.Module = field(repr=False)
    key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def name(self) -> str:
        """What its class is called."""
        return type(self.module).__name__

    def fresh(self) -> nn.Module:
        """The network as it was handed over, weights included."""
        return copy.deepcopy(self.module)
