"""Listening sockets, and who may talk to a server that has no key: programs and pages of this machine."""

import errno
import ipaddress
import os
import re
import socket
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import Scope

from likewise.errors import UserError

LONGEST_HEADERS = 32_000  # bytes
_HOST = re.compile(r"(\[[\da-f:.]+]|[a-z\d.-]+)(?::(\d{1,5}))?", re.IGNORECASE)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address; port 0 takes any that is free.

    Raises:
        UserError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OverflowError:
        listener.close()
        raise UserError(f"a port is a number between 1 and 65535, not {port}") from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use by another program; choose another one with --port") from None
        raise UserError(f"cannot use port {port} of {host}: {error.strerror}") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The address under which a browser reaches a socket."""
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def comes_from_this_machine(scope: Scope) -> bool:
    """Whether a page of this server, its visitor or a program asks, under a name that can only mean this machine.

    A site elsewhere can point its own name at this machine, or have a browser ask for contents; browsers tell which
    site it is.
    """
    return names_this_machine(scope) and comes_from_same_origin(scope)


def names_this_machine(scope: Scope) -> bool:
    """Whether a request calls the server by a name that can only mean this machine."""
    if sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEADERS:
        return False
    host = _HOST.fullmatch(", ".join(Headers(scope=scope).getlist("host")))
    return host is not None and is_loopback(host[1].strip("[]")) and int(host[2] or 0) <= 65_535


def comes_from_same_origin(scope: Scope) -> bool:
    """Whether no other site asks, as far as a browser tells; other sites may link to the pages, and nothing else."""
    headers = Headers(scope=scope)
    host = headers.get("host", "").lower()
    origins = [origin.partition("://")[2].lower() for origin in headers.getlist("origin")]
    if any(origin != host for origin in origins):
        return False
    if set(headers.getlist("sec-fetch-site")) <= {"same-origin", "none"}:
        return True
    is_visit = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return is_visit and scope["path"] in ("/", "/judge") and scope["method"] in ("GET", "HEAD")
