"""What a device needs: load an artifact, run it, measure it; numpy and the stdlib."""

from runtime.private import report_to_nobody

report_to_nobody()
