"""From a torch network to a file for a device, with proof that they agree."""
