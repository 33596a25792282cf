"""Names to data: folders, lists, zips and the built-in sets, decoded once."""
