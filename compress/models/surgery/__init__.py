"""How a network differs from the architecture it is named after, as plain data."""
