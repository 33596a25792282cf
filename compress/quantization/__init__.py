"""Quantization to INT8: after training (PTQ), or during it (QAT)."""
