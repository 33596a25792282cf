"""Keras models: read as plain data, never code, and built in torch."""
