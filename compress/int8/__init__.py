"""INT8, decided once: one quantised graph that every file format is a lowering of."""
