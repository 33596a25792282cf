"""What a device needs: load an artifact, run it, measure it; numpy and the stdlib."""
