"""What a stage that split layers writes down of it, for the report."""

from collections.abc import Sequence
from typing import Final

from compress.context.records import Record, each, text

# Beside the network as it was split, before it is trained: latency, a `LatencyTarget`
# or None, and layers, each a `Choice.as_record`.
RECORD: Final = "factorisation.json"


def joined(records: Sequence[Record]) -> Record:
    """One record of several stages: of each layer what was chosen last."""
    layers = {
        text(layer, "name"): layer
        for record in records
        for layer in each(record, "layers")
    }
    return {**records[-1], "layers": list(layers.values())}
