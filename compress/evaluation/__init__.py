"""How good and how heavy a model or a file is."""
