"""Where a store is: a URI without secrets, which come from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from likewise.errors import UserError


@dataclass(frozen=True)
class Credentials:
    """What a server wants to know before it answers; only the command line reads them from the environment.

    Attributes:
        token: an API key, for servers that take one instead of a user and a password.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Credentials":
        """Read LIKEWISE_STORE_USER, LIKEWISE_STORE_PASSWORD and LIKEWISE_STORE_TOKEN, for instance of os.environ."""
        names = ("LIKEWISE_STORE_USER", "LIKEWISE_STORE_PASSWORD", "LIKEWISE_STORE_TOKEN")
        return cls(*(environment.get(name) or None for name in names))

    def over(self, other: "Credentials") -> "Credentials":
        """These, and the others where these are silent."""
        return Credentials(self.user or other.user, self.password or other.password, self.token or other.token)


@dataclass(frozen=True)
class Location:
    """A place that an engine understands.

    Attributes:
        scheme: the engine.
        host: with the port if there is one, or several of them with commas; empty for a place on this machine.
        path: of a file or folder where there is no host; otherwise what the engine makes of it, such as a database.
        options: what stands behind the question mark.
    """

    scheme: str
    host: str = ""
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()

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

    def within(self, folder: Path) -> "Location":
        """The place as seen from this process, where a relative path starts from `folder`."""
        if self.host or self.path.startswith("/"):
            return self
        return replace(self, path=(folder / self.path).absolute().as_posix())


# Options that carry a secret in some engine's own URIs.
_SECRET_OPTIONS = frozenset({"password", "passwd", "token", "api_key", "apikey", "api-key", "sslpassword"})


def parse_location(uri: str) -> tuple[Location, Credentials]:
    """Take a URI apart: the place, which may be written down, and the secrets in it, which may not.

    Understood are `faiss:///absolute/path`, `faiss:relative/path`, `milvus://user:password@host:19530/db?collection=x`.

    Raises:
        UserError: it is no such URI.
    """
    try:
        parts = urlsplit(uri.strip())
    except ValueError as error:
        raise UserError(f"the store's URI cannot be read ({error})") from None
    if not parts.scheme or (not parts.netloc and not parts.path):
        raise UserError("a store is named by a URI such as faiss:///path/to/folder or qdrant://localhost:6333")
    account, _, host = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    options = parse_qsl(parts.query, keep_blank_values=True)
    secret = {name.lower(): value for name, value in options if name.lower() in _SECRET_OPTIONS}
    token = next((value for name, value in secret.items() if "pass" not in name), None)
    password = unquote(password) or next((value for name, value in secret.items() if "pass" in name), "")
    open_options = tuple((name, value) for name, value in options if name.lower() not in _SECRET_OPTIONS)
    location = Location(parts.scheme.lower(), host, unquote(parts.path), open_options)
    return location, Credentials(unquote(user) or None, password or None, token)
