"""Quantization: from a float network and images to INT8, after training (PTQ) or with it (QAT)."""
