"""Where a store is: a URI without secrets, which come from elsewhere."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from likewise.errors import UserError
from likewise.stores.options import sort_options

_CONTROL, _SURROGATE = re.compile(r"[\x00-\x1f\x7f]"), re.compile("[\ud800-\udfff]")
_HOST = re.compile(r"[\w.\-:,%\[\]]*", re.ASCII)
WITHOUT_TLS = ("disable", "allow", "prefer")  # of PostgreSQL's sslmode: what anyone on the way can bring down to none
_SERVERS = ("postgresql", "postgres", "mongodb", "mongodb+srv", "qdrant")
_PORTS = {"postgresql": "5432", "postgres": "5432", "mongodb": "27017", "milvus": "19530", "qdrant": "6333"}


@dataclass(frozen=True)
class Credentials:
    """What a server wants to know before it answers; only the command line reads them from the environment.

    Attributes:
        token: an API key, for servers that take one instead of a user and a password.
        hosts: where these may go although only a run names the place: hosts, or hosts with a port. The place that is
            given with the credentials needs no such permission.
        withheld: the server must not learn who we are, neither from here nor from where its client would look.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    withheld: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Credentials":
        """Read LIKEWISE_STORE_USER, …_PASSWORD, …_TOKEN and …_HOST (with commas), for instance of os.environ."""
        names = ("LIKEWISE_STORE_USER", "LIKEWISE_STORE_PASSWORD", "LIKEWISE_STORE_TOKEN")
        hosts = [host.strip() for host in environment.get("LIKEWISE_STORE_HOST", "").split(",")]
        user, password, token = (environment.get(name) or None for name in names)
        return cls(user, password, token, tuple(filter(None, hosts)))

    def over(self, other: "Credentials") -> "Credentials":
        """These, and the others where these are silent."""
        return replace(
            self,
            user=self.user or other.user,
            password=self.password or other.password,
            token=self.token or other.token,
        )

    def mask(self, text: str) -> str:
        """A text, such as a server's message, without the secrets of these credentials."""
        for secret in filter(None, (self.password, self.token)):
            text = text.replace(secret, "…")
        return text

    @property
    def are_given(self) -> bool:
        """Whether there is anything to send."""
        return any((self.user, self.password, self.token))

    def allowed_at(self, location: "Location") -> bool:
        """Whether they may go to a place that only a run names: to all of its hosts."""
        allowed = {_host_and_port(host) for host in self.hosts}
        return all(
            (host, None) in allowed or (host, port or location.usual_port) in allowed for host, port in location.hosts
        )


@dataclass(frozen=True)
class Location:
    """A place that an engine understands.

    Attributes:
        scheme: the engine.
        host: with the port if there is one, or several of them with commas; empty for a place on this machine.
        path: of a file or folder where there is no host; otherwise what the engine makes of it, such as a database.
        options: what stands behind the question mark and may be written down.
        private: what stands there and may not; see options.py. No message and no run holds it.
    """

    scheme: str
    host: str = ""
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()
    private: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        question = f"?{urlencode(self.options)}" if self.options else ""
        if not self.host and not self.path.startswith("/"):
            return f"{self.scheme}:{quote(self.path)}{question}"
        return f"{self.scheme}://{self.host}{quote(self.path)}{question}"

    @property
    def file(self) -> Path:
        """The file or folder of an embedded engine.

        Raises:
            UserError: the URI names none.
        """
        if self.host or not self.path.strip("/"):
            raise UserError(
                f"{self} names no file: write {self.scheme}:///absolute/path or {self.scheme}:relative/path"
            )
        return Path(self.path)

    def option(self, name: str, otherwise: str) -> str:
        """One of the options, or another value where it is not given."""
        return dict(self.options).get(name, otherwise)

    @property
    def collection(self) -> str:
        """What the engine calls a table or a collection: `?collection=NAME`."""
        name = self.option("collection", "likewise")
        if not name.isascii() or not name.replace("_", "").isalnum() or not name[0].isalpha() or len(name) > 40:
            raise UserError(f"the collection {name!r} needs a name of at most 40 ASCII letters, digits and _")
        return name

    @property
    def hosts(self) -> list[tuple[str, str | None]]:
        """Every host with its port, if it names one; none for a place on this machine."""
        addresses = [_host_and_port(one) for one in (self.host or self.option("host", "")).split(",") if one]
        ports = self.option("port", "").split(",")
        if len(ports) != len(addresses):
            ports = [ports[0]] * len(addresses)
        return [(host, own or port or None) for (host, own), port in zip(addresses, ports, strict=True)]

    @property
    def usual_port(self) -> str:
        """The port that the engine takes where none is named."""
        return _PORTS.get(self.scheme, "")

    @property
    def is_server(self) -> bool:
        """Whether the engine is a server, wherever it is."""
        return self.scheme in _SERVERS

    @property
    def has_credentials_elsewhere(self) -> bool:
        """Whether the engine's client looks for credentials by itself, such as in ~/.pgpass."""
        return self.scheme in ("postgresql", "postgres")

    @property
    def is_remote(self) -> bool:
        """Whether what is sent leaves this machine."""
        return not all(host.startswith("/") or _is_loopback(host) for host, _ in self.hosts)

    def within(self, folder: Path) -> "Location":
        """The place as seen from this process, where a relative path starts from `folder`."""
        if self.host or self.path.startswith("/"):
            return self
        return replace(self, path=(folder / self.path).absolute().as_posix())


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_location(uri: str) -> tuple[Location, Credentials]:
    """Take a URI apart: the place, which may be written down, and the secrets in it, which may not.

    Understood are `faiss:///absolute/path`, `faiss:relative/path`, `milvus://user:password@host:19530/db?collection=x`.

    Raises:
        UserError: it is no such URI, or has an option that its engine does not have.
    """
    uri = uri.strip()
    _check_signs(uri)
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise UserError("the store's URI cannot be read: its host is malformed") from None
    if not parts.scheme or (not parts.netloc and not parts.path):
        raise UserError("a store is named by a URI such as faiss:///path/to/folder or qdrant://localhost:6333")
    if parts.fragment or "#" in uri:
        raise UserError("the store's URI holds a #: write it as %23, since nothing behind it would be read")
    account, _, host = parts.netloc.rpartition("@")
    if not _HOST.fullmatch(host):
        raise UserError("the store's URI cannot be read: its host holds other signs than letters, digits and .-_:,[]%")
    user, _, password = account.partition(":")
    scheme = parts.scheme.lower()
    given = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    if "?" in uri and not given and scheme not in _SERVERS and not host:
        raise UserError("the store's URI holds a ? with no option behind it: leave it out, or write it as %3F")
    for name, value in given:
        _check_signs(name + value)
    options = sort_options(scheme, given)
    if host and any(name == "host" for name, _ in options.remembered):
        raise UserError("the store's URI names its host twice: before the path, and as an option")
    location = Location(scheme, host, _unescape(parts.path), options.remembered, options.private)
    found = options.credentials
    return location, Credentials(
        _unescape(user) or found.get("user"), _unescape(password) or found.get("password"), found.get("token")
    )


def _unescape(part: str) -> str:
    text = unquote(part, errors="surrogateescape")
    _check_signs(text)
    return text


def _check_signs(text: str) -> None:
    """Refuse what some part of the way to a store would drop or replace without a word.

    Raises:
        UserError: the text holds a control character, or bytes that are not UTF-8; it is not repeated, since it may be
            a secret.
    """
    if _CONTROL.search(text):
        raise UserError("the store's URI holds a control character, such as a line break or %00: leave it out")
    if _SURROGATE.search(text):
        raise UserError("the store's URI holds bytes that are not UTF-8: write % escapes of UTF-8, and % itself as %25")


def _host_and_port(address: str) -> tuple[str, str | None]:
    """A host, as it is compared, and its port: of host, host:port, [::1], [::1]:port or the folder of a socket."""
    address = unquote(address).strip().lower()
    if address.startswith("/"):
        return address, None
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host, port.removeprefix(":") or None
    if address.count(":") > 1:
        return address, None
    host, _, port = address.partition(":")
    return host.removesuffix("."), port or None
