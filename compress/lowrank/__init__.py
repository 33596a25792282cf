"""Layers as products of thinner ones: their weights, their ranks, what these gain."""
