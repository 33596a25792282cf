"""`python -m compress` is `compress`."""

from compress.cli.main import entry

if __name__ == "__main__":
    entry()
