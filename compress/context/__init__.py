"""What surrounds a run: console, cache, device, installed libraries."""
