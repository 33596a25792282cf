"""Weights that are zero: which of them, when they go, and that they stay so."""
