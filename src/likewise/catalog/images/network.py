"""SSRF-safe HTTP client: hosts are resolved once, every address is checked, and only checked ones are connected to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

from likewise.catalog.images.picture import PictureError

PICTURES = "image/*, */*;q=0.5"  # the media types that are asked for

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[list[str]]]  # host and port to literal addresses

_SECONDS_TO_CONNECT = 5.0
_PAUSES_BETWEEN_LOOKUPS = (0.2, 1.0)  # seconds, while the resolver says that it has no answer yet
_WEB_PORTS = (80, 443)
_FIRST_USER_PORT = 1024  # below it live mail, file and login services

# Where clouds keep the credentials of the machine; those in link-local ranges are refused with their range.
_METADATA = frozenset(
    ip_address(address)
    for address in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)


def is_never_allowed(address: Address) -> bool:
    """Whether an address is link-local, a cloud's metadata service, multicast, unspecified or reserved."""
    inner = extract_ipv4(address)
    if inner is not None:
        return is_never_allowed(inner)
    if address.is_loopback:
        return False
    if isinstance(address, IPv4Address) and address.packed[0] == 0:  # "this network": some systems dial themselves
        return True
    if isinstance(address, IPv6Address) and (address.teredo is not None or address in _LOCAL_NAT64):
        return True
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or address in _METADATA
    )


def is_private(address: Address) -> bool:
    """Whether an address is loopback, or of a network that the internet does not route to."""
    inner = extract_ipv4(address)
    if inner is not None:
        return is_private(inner)
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_loopback or address.is_private or site_local or not address.is_global


def extract_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that a packet to an IPv6 address of a transition mechanism ends up at."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    last_bits = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64 or (int(address) >> 32 & 0xFFFFFFFF) in _ISATAP_MARKS:
        return last_bits
    if address in _IPV4_COMPATIBLE and int(address) > 1:
        return last_bits
    return None


class Gate:
    """Resolver that checks the addresses of host names, and remembers them for its lifetime.

    Args:
        allow_private: let loopback and private addresses through.
        resolve: looks a host up; replaced in tests.
    """

    def __init__(self, allow_private: bool, resolve: Resolver | None = None) -> None:
        self._allow_private = allow_private
        self._resolve = resolve or _ask_system
        self._answers: dict[str, asyncio.Task[list[Address]]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """The checked addresses of a host. It is looked up once: a name that changes its mind is not asked again.

        Raises:
            PictureError: the host does not exist, or one of its addresses or the port is refused.
        """
        if port not in _WEB_PORTS and port < _FIRST_USER_PORT:
            raise PictureError("port-refused")
        if host not in self._answers:
            self._answers[host] = asyncio.create_task(self._look_up(host, port))
        return await asyncio.shield(self._answers[host])  # a caller that runs out of time leaves it to the others

    async def leads_to_private(self, host: str, port: int) -> bool:
        """Whether any of a host's addresses is private."""
        return any(is_private(address) for address in await self.addresses(host, port))

    async def _look_up(self, host: str, port: int) -> list[Address]:
        found = [ip_address(text) for text in await self._ask(host, port)]
        if not found:
            raise PictureError("host-not-found")
        for address in found:
            if is_never_allowed(address) or (is_private(address) and not self._allow_private):
                raise PictureError("address-refused", f"{host} leads to {address}, where files may not come from")
        # IPv4 first: a network with half-working IPv6 would make every host wait for a time-out.
        return sorted(found, key=lambda address: address.version)

    async def _ask(self, host: str, port: int) -> list[str]:
        for pause in (*_PAUSES_BETWEEN_LOOKUPS, None):
            try:
                return await self._resolve(host, port)
            except (OSError, ValueError) as error:  # ValueError: a name that cannot be encoded for the DNS
                if pause is None or getattr(error, "errno", None) != socket.EAI_AGAIN:
                    break
                await asyncio.sleep(pause)
        return []


async def _ask_system(host: str, port: int) -> list[str]:
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Network backend that connects only to addresses that the gate has checked. TLS verifies the host name."""

    def __init__(self, gate: Gate, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._gate = gate
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._gate.addresses(host, port):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise PictureError("address-refused")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class PinnedTransport(httpx.AsyncBaseTransport):
    """httpx over a pool that dials through a `PinnedBackend`; httpcore's exceptions come through as they are."""

    def __init__(self, backend: PinnedBackend, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_SECONDS_TO_CONNECT,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


def build_client(
    gate: Gate, connections: int, inner: httpcore.AsyncNetworkBackend | None = None, accept: str = PICTURES
) -> httpx.AsyncClient:
    """An HTTP client without proxies, cookies, redirects, compression or anything from the environment.

    Args:
        gate: decides about every address.
        connections: how many may be open at once.
        inner: dials the checked addresses; replaced in tests.
        accept: the media types that are asked for.
    """
    return httpx.AsyncClient(
        transport=PinnedTransport(PinnedBackend(gate, inner), connections),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        headers={"accept": accept, "accept-encoding": "identity", "user-agent": "likewise"},
        timeout=httpx.Timeout(None, connect=_SECONDS_TO_CONNECT),  # the whole download is timed by its caller
    )
