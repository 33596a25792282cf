"""Where a board is reached: `ssh://user@host:port`, of which nothing is an option."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import RecipeError

# ssh takes what begins with a dash for an option, and expands `%` in names of hosts.
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+$\\-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|[0-9A-Fa-f:.]{2,45}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A host of ssh, or an alias of `~/.ssh/config`; None is what that one says."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> "Address":
        """The address that a URL spells; RecipeError if it spells none."""
        wrong = RecipeError(
            f"{text!r:.200} is no address of a board; allowed: ssh://host, "
            "ssh://user@host or ssh://user@host:port"
        )
        try:
            parts = urlsplit(text)
            port, password = parts.port, parts.password
        except ValueError as error:  # a port of letters, a bracket too many
            raise wrong from error
        if password is not None:
            raise RecipeError(
                "a password in the address would be read by others; boards are reached "
                "by key: ssh-copy-id puts yours there"
            )
        path = parts.path.removeprefix("/") + parts.query + parts.fragment
        # urlsplit makes hosts small and drops tabs and ends of lines.
        plain = text.isprintable() and " " not in text
        host, user = parts.hostname or "", parts.username
        if parts.scheme != "ssh" or path or not plain or port == 0:
            raise wrong
        if not _HOST.fullmatch(host) or (
            user is not None and not _USER.fullmatch(user)
        ):
            raise wrong
        return cls(host=host, user=user, port=port)

    @property
    def who(self) -> str:
        """`user@host`, as one types it after `ssh`."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def words(self) -> str:
        """What one types after `ssh`, the port included."""
        return f"-p {self.port} {self.who}" if self.port else self.who

    def __str__(self) -> str:
        """The URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{host}{f':{self.port}' if self.port else ''}"
