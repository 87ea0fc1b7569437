"""Rate limits: how often one client may ask, in memory that does not grow with the number of clients."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.serving.problems import problem

_MOST_BUCKETS = 10_000
_NETWORK = 64  # leading bits of an IPv6 address; one client has all addresses that share them


class TokenBuckets:
    """A bucket of tokens for each name, which fills up at a constant rate.

    Of more than `most` names, those that have not asked for longest are forgotten: their buckets are the fullest.

    Args:
        per_second: tokens that come back.
        burst: tokens in a full bucket.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        most: int = _MOST_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> float:
        """Take a token; returns 0.0, or the seconds until there is one."""
        now = self._clock()
        tokens, since = self._buckets.pop(name, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        is_taken = tokens >= 1
        self._buckets[name] = (tokens - 1 if is_taken else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if is_taken else (1 - tokens) / self._per_second


class RateLimit:
    """ASGI middleware: answers 429 to a key, or without one to an address, that asks too often.

    It stands behind `KeyGuard`, which says whose key it is.

    Args:
        per_second: requests for each key or address.
        burst: requests that may come at once.
        exempt: paths that are not counted.
        count_refusal: told "rate" for each refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        per_second: float,
        burst: int,
        *,
        exempt: Collection[str] = (),
        count_refusal: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._exempt = frozenset(exempt)
        self._count_refusal = count_refusal
        self._buckets = TokenBuckets(per_second, burst, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request with the time to wait, or pass it on."""
        if scope["type"] == "http" and scope["path"] not in self._exempt:
            name = scope.get("state", {}).get("key_name")
            wait = self._buckets.take(f"address {client_of(scope)}" if name is None else f"key {name}")
            if wait > 0:
                if self._count_refusal is not None:
                    self._count_refusal("rate")
                refusal = problem(scope, 429, "Too many requests; wait, then ask again.", retry_after(wait))
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says how long to wait."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def client_of(scope: Scope) -> str:
    """The address that asks; of IPv6 its network, as one client can have all of it."""
    client = scope.get("client")
    if client is None:
        return "local"
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _NETWORK), strict=False))
