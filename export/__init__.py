"""From a torch network to a file for a device, with proof that both compute the same."""
