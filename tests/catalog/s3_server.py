"""A stand-in for S3 on loopback: objects in buckets, ranges, signatures (version 4) that are verified, and failures."""

import hashlib
import hmac
from collections import Counter
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from catalog.loopback_server import LoopbackServer, ObjectHandler

ACCESS_KEY, SECRET_KEY = "AKIATESTTESTTEST", "the/secret+of+tests"


class S3Server(LoopbackServer):
    """Start it as a context manager; `environment` is what a client needs, `objects` maps "bucket/key" to bytes."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.failures: dict[str, int] = {}  # "bucket/key" → how often it still answers with 503
        super().__init__(_Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }


class _Handler(ObjectHandler):
    server_of_tests: S3Server

    def answer(self) -> None:
        outer, place = self.server_of_tests, unquote(urlsplit(self.path).path).lstrip("/")
        outer.asked[place] += 1
        if place.startswith("public/"):
            pass
        elif not self._is_signed():
            return self.refuse(403, "SignatureDoesNotMatch")
        elif place.startswith("private/"):
            return self.refuse(403, "AccessDenied")
        if outer.failures.get(place, 0) > 0:
            outer.failures[place] -= 1
            return self.refuse(503, "SlowDown")
        if place not in outer.objects:
            return self.refuse(404, "NoSuchKey")
        outer.sent += self.send_object(outer.objects[place])
        return None

    def _is_signed(self) -> bool:
        """Whether the request bears the signature that the secret key gives it."""
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        if scheme != "AWS4-HMAC-SHA256" or not parts.get("Credential", "").startswith(f"{ACCESS_KEY}/"):
            return False
        _, day, region, service, _ = parts["Credential"].split("/")
        names = parts["SignedHeaders"].split(";")
        split = urlsplit(self.path)
        query = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(split.query, True))
        canonical = "\n".join(
            [
                "GET",
                split.path,
                "&".join(f"{key}={value}" for key, value in query),
                *(f"{name}:{(self.headers.get(name) or '').strip()}" for name in names),
                "",
                parts["SignedHeaders"],
                self.headers["x-amz-content-sha256"],
            ]
        )
        scope = f"{day}/{region}/{service}/aws4_request"
        text = f"{scheme}\n{self.headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET_KEY}".encode()
        for part in (day, region, service, "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.compare_digest(key.hex(), parts["Signature"])
