"""Meters of electrical energy, one file a kind; `table` finds one by name."""
