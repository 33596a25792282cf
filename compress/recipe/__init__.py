"""What may be asked for: the schema of recipes and the options of every stage; no torch."""
