"""Where a stage that made weights zero writes down what it left, for the report."""

from typing import Final

# {pattern, weights, zeros, dense, layers: [{name, pattern, weights, zeros}]}
RECORD: Final = "sparsity.json"
