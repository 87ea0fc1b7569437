"""Sessions of browsers: a cookie that holds no key, but a signed token that expires."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from starlette.types import Scope

from likewise.serving.keys import Key, Keys

COOKIE = "likewise-session"
_TOKEN = re.compile(r"(?P<signed>(?P<expires>\d{1,12})\.(?P<key>[\da-f]{32})\.[\da-f]{16})\.(?P<signature>[\da-f]{64})")


class Sessions:
    """Tokens for the keys of a server, signed with a secret that lasts as long as the process.

    Args:
        keys: what the tokens stand for.
        seconds: how long a token lasts.
        clock: seconds since 1970.
    """

    def __init__(self, keys: Keys, seconds: int = 12 * 3600, clock: Callable[[], float] = time.time) -> None:
        self.seconds = seconds
        self._secret = secrets.token_bytes(32)
        self._clock = clock
        self._keys = {self._sign(key.digest)[:32]: key for key in keys.all}
        self._ended: dict[str, int] = {}  # signatures of tokens that were signed out before they expired

    def begin(self, key: Key) -> str:
        """A new token for a key."""
        named = next(name for name, known in self._keys.items() if known == key)
        signed = f"{int(self._clock()) + self.seconds}.{named}.{secrets.token_hex(8)}"
        return f"{signed}.{self._sign(signed.encode())}"

    def find(self, token: str) -> Key | None:
        """The key that a token stands for, if this process signed it and it has not ended."""
        match = _TOKEN.fullmatch(token) if token.isascii() else None
        if match is None or not hmac.compare_digest(self._sign(match["signed"].encode()), match["signature"]):
            return None
        if int(match["expires"]) <= self._clock() or match["signature"] in self._ended:
            return None
        return self._keys.get(match["key"])

    def end(self, token: str) -> None:
        """Let a token be worth nothing from now on."""
        if self.find(token) is not None:
            now = self._clock()
            self._ended = {signature: expires for signature, expires in self._ended.items() if expires > now}
            self._ended[token.rpartition(".")[2]] = int(token.partition(".")[0])

    def _sign(self, content: bytes) -> str:
        return hmac.new(self._secret, content, hashlib.sha256).hexdigest()


def tokens_of(scope: Scope) -> list[str]:
    """The tokens in the cookies of a request; other servers of the same host may have set some, too."""
    cookies = ";".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
    pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
    return [value for name, _, value in pairs if name == COOKIE]
