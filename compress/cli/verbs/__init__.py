"""One file a verb: its flags and what it does; the table is in `compress.cli.main`."""
