"""Devices on which files are measured, one file a kind; `table` finds one by name."""
