"""Where a stage that split layers writes down what it chose, for the report."""

from typing import Final

# What it holds: latency, a `Promise` or None, and layers, each a `Choice.as_record`.
RECORD: Final = "factorisation.json"
