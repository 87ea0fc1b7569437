"""A stand-in for Google Cloud Storage on loopback: its XML API, with tokens that a service account's key signs."""

import json
from collections import Counter
from typing import Any
from urllib.parse import unquote, urlsplit

import jwt
from catalog.loopback_server import LoopbackServer, ObjectHandler
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ACCOUNT = "reader@shop.iam.gserviceaccount.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GCSServer(LoopbackServer):
    """Start it as a context manager; `objects` maps "bucket/key" to bytes, buckets called public ask for no token."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        super().__init__(_Handler)

    def build_account(self, key: rsa.RSAPrivateKey | None = None) -> str:
        """The JSON of a service account that signs with a key (the server's own by default), for its environment."""
        private = (key or self.key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key_id": "1",
            "private_key": private.decode(),
            "gcs_base_url": f"http://127.0.0.1:{self.port}",
        }
        return json.dumps(account)

    def is_signed(self, authorization: str) -> bool:
        """Whether a header bears a token that the account's key has signed, for reading storage, and still valid."""
        scheme, _, token = authorization.partition(" ")
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self.key.public_key(), algorithms=["RS256"], options={"require": ["exp", "iat", "iss"]}
            )
        except jwt.InvalidTokenError:
            return False
        return scheme == "Bearer" and claims["iss"] == ACCOUNT and claims.get("scope") == _SCOPE


class _Handler(ObjectHandler):
    server_of_tests: GCSServer

    def answer(self) -> None:
        outer, place = self.server_of_tests, unquote(urlsplit(self.path).path).lstrip("/")
        outer.asked[place] += 1
        if not place.startswith("public/") and not outer.is_signed(self.headers.get("Authorization", "")):
            return self.refuse(401, "AuthenticationRequired")
        if place.startswith("private/"):
            return self.refuse(403, "AccessDenied")
        if place not in outer.objects:
            return self.refuse(404, "NoSuchKey")
        outer.sent += self.send_object(outer.objects[place])
        return None
