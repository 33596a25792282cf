"""INT8, decided once: one quantized graph that every file format is a lowering of."""
