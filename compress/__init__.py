"""Makes trained vision models smaller; nothing heavy is imported from here."""
