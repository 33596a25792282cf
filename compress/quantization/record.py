"""Where a stage that quantizes writes down what it found, for the report."""

from typing import Final

# {float32, int8: verdicts, rungs, operators, float_operators}
RECORD: Final = "quantisation.json"
