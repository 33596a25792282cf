"""`python -m compress` is `compress`."""

from compress.cli import entry

if __name__ == "__main__":
    entry()
