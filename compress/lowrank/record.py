"""Where a stage that split layers writes down what it chose, for the report."""

from typing import Final

# {network_ms, layers: [Choice.as_record]}
RECORD: Final = "factorisation.json"
