"""The schema of recipes, and the options of every stage; nothing here needs torch."""
