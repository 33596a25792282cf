"""Which channels and blocks a network can do without, and how it gets over the loss."""
