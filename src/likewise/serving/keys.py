"""API keys: who may ask a server that others can reach, and who may change its index."""

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from likewise.errors import UserError
from likewise.parsing import read_bounded
from likewise.progress import say
from likewise.serving.listening import is_loopback

Access = Literal["read", "write"]  # write includes read

SHORTEST_KEY = 16  # characters
LONGEST_KEY = 512
_MOST_BYTES = 1_000_000  # of a file of keys
_PLAIN = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # visible ASCII without commas, which any header can carry
_LINE = re.compile(r"(?P<access>read|write)\s+sha256:(?P<digest>[0-9a-fA-F]{64})(?:\s+(?P<name>[\w.@-]{1,64}))?")


@dataclass(frozen=True)
class Key:
    """A key as a server knows it: not the key itself, but its hash.

    Attributes:
        name: what logs call it.
        access: "read" or "write".
        digest: SHA-256 of the key.
    """

    name: str
    access: Access
    digest: bytes = field(repr=False)


class Keys:
    """The keys that a server knows; without any, it is false.

    Raises:
        UserError: two of them have the same name.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.all = tuple(keys)
        names = [key.name for key in self.all]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f'two keys have the name "{twice}"; give each one its own')

    @classmethod
    def collect(cls, read: str = "", write: str = "", file: Path | None = None) -> "Keys":
        """Take keys from the environment and from a file.

        Args:
            read: the keys of LIKEWISE_API_KEYS, with commas between them.
            write: the keys of LIKEWISE_WRITE_KEYS.
            file: lines such as "read sha256:HEX name"; see `new_key`.

        Raises:
            UserError: a key is too short, a line is no key, or the file cannot be read.
        """
        keys = [*_listed(read, "read", "LIKEWISE_API_KEYS"), *_listed(write, "write", "LIKEWISE_WRITE_KEYS")]
        return cls([*keys, *([] if file is None else _read_file(file))])

    def __bool__(self) -> bool:
        return bool(self.all)

    def find(self, presented: bytes) -> Key | None:
        """The key that a request presents; takes as long for any wrong one, however much of it is right."""
        if len(presented) > LONGEST_KEY:
            return None
        digest = hashlib.sha256(presented).digest()
        found = None
        for key in self.all:  # all of them, as the time that it takes would tell which one is close
            if secrets.compare_digest(digest, key.digest) and (found is None or key.access == "write"):
                found = key
        return found


def new_key(access: Access = "read", name: str = "") -> tuple[str, str]:
    """Make a key; returns it, to be given to whoever asks, and the line for the server's file of keys.

    Raises:
        UserError: the name cannot stand in that file.
    """
    key = f"lw_{secrets.token_urlsafe(32)}"
    line = f"{access} sha256:{hashlib.sha256(key.encode()).hexdigest()} {name}".rstrip()
    if not _LINE.fullmatch(line):
        raise UserError("the name of a key has at most 64 letters, digits and . _ - @, and no spaces")
    return key, line


def check_binding(host: str, keys: Keys) -> None:
    """Refuse to listen where others can ask, unless they need a key.

    Raises:
        UserError: the host is not this machine's own, and there are no keys.
    """
    if not keys and not is_loopback(host):
        raise UserError(
            f"without keys a server is for this machine only: use --host 127.0.0.1, not {host},"
            " or name keys with --keys FILE or LIKEWISE_API_KEYS"
        )


def _listed(keys: str, access: Access, variable: str) -> list[Key]:
    found = []
    for number, key in enumerate(filter(None, (key.strip() for key in keys.split(","))), start=1):
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise UserError(
                f"key {number} in {variable} has {len(key):,} characters; keys have {SHORTEST_KEY} to {LONGEST_KEY}"
            )
        if not _PLAIN.fullmatch(key):
            raise UserError(f"key {number} in {variable} has spaces or characters beyond ASCII; make another one")
        found.append(Key(f"environment-{access}-{number}", access, hashlib.sha256(key.encode()).digest()))
    return found


def _read_file(path: Path) -> list[Key]:
    try:
        lines = read_bounded(path, _MOST_BYTES).decode("utf-8").splitlines()
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"cannot read the keys in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read the keys in {path}: it is no UTF-8 text") from None
    except ValueError as error:
        raise UserError(f"cannot read the keys in {path}: {error}") from None
    if os.name == "posix" and mode & (stat.S_IROTH | stat.S_IWOTH):
        say(f"Everyone on this machine can read or change the keys in {path}; chmod 600 keeps them out")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:  # it is not quoted: it may be a key
            raise UserError(
                f'line {number} of {path} is no key: write "read sha256:HASH NAME" or "write sha256:HASH NAME",'
                " where the hash is the SHA-256 of the key"
            )
        access: Access = "write" if match["access"] == "write" else "read"
        found.append(Key(match["name"] or f"line-{number}", access, bytes.fromhex(match["digest"])))
    if not found:
        raise UserError(f"there is no key in {path}; add a line for each, or omit --keys")
    return found
