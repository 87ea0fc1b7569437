"""What may stand behind the question mark of a store's URI, engine by engine: what is not listed is refused.

A list of what is allowed stays right when an engine learns new options; a list of known secrets does not.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from likewise.errors import UserError
from likewise.stores.engines import load_engine
from likewise.stores.search_target import OPTIONS as SEARCH_OPTIONS

_CREDENTIALS = {"user": "user", "username": "user", "password": "password", "passwd": "password"}
_TOKENS = dict.fromkeys(("token", "api_key", "apikey", "api-key"), "token")


@dataclass(frozen=True)
class Options:
    """The options of one engine.

    Attributes:
        remembered: those that a run may write down, and that are shown in messages. They say where a store is and how
            to reach it, and are no secrets.
        private: those that only the URI of this moment may hold: keys, files of this machine, ways to log in.
        credentials: other names for who we are, and which part of `Credentials` each is.
    """

    remembered: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()


_POSTGRESQL = Options(
    remembered=(
        "collection", "host", "port", "sslmode", "sslrootcert", "sslnegotiation", "channel_binding", "connect_timeout",
        "target_session_attrs", "load_balance_hosts", "application_name", "keepalives", "keepalives_idle",
        "keepalives_interval", "keepalives_count", "tcp_user_timeout",
    ),
    private=(
        "options", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcertmode", "passfile", "service", "servicefile",
        "require_auth", "gssencmode", "krbsrvname",
    ),
    credentials=tuple(_CREDENTIALS.items()),
)  # fmt: skip
_MONGODB = Options(
    remembered=(
        "collection", "replicaSet", "directConnection", "loadBalanced", "tls", "ssl", "tlsCAFile", "authSource",
        "readPreference", "readPreferenceTags", "readConcernLevel", "maxStalenessSeconds", "w", "wTimeoutMS", "journal",
        "retryWrites", "retryReads", "timeoutMS", "connectTimeoutMS", "socketTimeoutMS", "serverSelectionTimeoutMS",
        "waitQueueTimeoutMS", "heartbeatFrequencyMS", "localThresholdMS", "maxPoolSize", "minPoolSize", "maxIdleTimeMS",
        "maxConnecting", "compressors", "srvMaxHosts", "appName",
    ),
    private=(
        "authMechanism", "authMechanismProperties", "tlsCertificateKeyFile", "tlsCertificateKeyFilePassword",
        "tlsCRLFile", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsInsecure",
    ),
)  # fmt: skip
_OVER_HTTP = Options(("collection", "tls"), credentials=(*_CREDENTIALS.items(), *_TOKENS.items()))

_ENGINES = {
    "faiss": Options(SEARCH_OPTIONS),
    "lancedb": Options(),
    "milvus": _OVER_HTTP,
    "qdrant": _OVER_HTTP,
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mongodb": _MONGODB,
    "mongodb+srv": _MONGODB,
}


@dataclass(frozen=True)
class Sorted:
    """The options of a URI, by what may become of them."""

    remembered: tuple[tuple[str, str], ...]
    private: tuple[tuple[str, str], ...]
    credentials: dict[str, str]


def sort_options(scheme: str, given: Sequence[tuple[str, str]]) -> Sorted:
    """Sort options into those that may be written down, those that may not, and credentials.

    Raises:
        UserError: there is no such engine, or an option is unknown or given twice; the message holds no value.
    """
    known = _ENGINES.get(scheme) or Options(tuple(getattr(load_engine(scheme), "OPTIONS", ())))
    names = {name.lower(): name for name in (*known.remembered, *known.private)}
    remembered: list[tuple[str, str]] = []
    private: list[tuple[str, str]] = []
    credentials: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in given:
        lower = name.lower()
        if lower in seen and lower != "readpreferencetags":
            raise UserError(f"the store's URI gives the option {name[:40]} twice")
        seen.add(lower)
        if lower in names:
            (remembered if names[lower] in known.remembered else private).append((names[lower], value))
        elif lower in dict(known.credentials):
            credentials[dict(known.credentials)[lower]] = value
        else:
            raise _unknown(scheme, name, known)
    return Sorted(tuple(remembered), tuple(private), credentials)


def _unknown(scheme: str, name: str, known: Options) -> UserError:
    every = (*known.remembered, *known.private)
    near = difflib.get_close_matches(name, every, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"options are {', '.join(every)}" if every else "it has no options"
    if name in SEARCH_OPTIONS:
        listed = (
            "--target-recall, --memory and --index-kind (in a URI target_recall, memory and kind) are for the faiss "
            f"store, not for {scheme}"
        )
    return UserError(f"the store {scheme}: has no option {name[:40]!r}{hint} ({listed})")
