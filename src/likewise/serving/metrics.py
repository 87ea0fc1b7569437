"""Metrics of a server, as Prometheus reads them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from likewise.errors import MissingExtraError
from likewise.serving.limits import METHODS

if TYPE_CHECKING:
    from likewise.serving.service import SearchService

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What a server counts and times, in a registry of its own.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise MissingExtraError("prometheus-client", "serve") from None
        self._library: Any = prometheus_client
        self._registry = prometheus_client.CollectorRegistry(auto_describe=True)
        self._seconds = prometheus_client.Histogram(
            "likewise_request_stage_seconds",
            "Seconds that a stage of a request took, by the kind of request",
            ["kind", "stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = prometheus_client.Histogram(
            "likewise_encode_batch_size",
            "Values that were encoded at once",
            ["lane"],
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._timers: dict[tuple[str, str], Any] = {}  # the library looks each of them up under a lock
        self._encode_seconds = self._count("encode_seconds", "Seconds that a lane was encoding", "lane")
        self._requests = self._count("requests", "Requests by method, route and status", "method", "route", "status")
        self._refusals = self._count("refusals", "Requests that were answered 429: too many", "reason")
        self._empty = self._count("searches_without_hits", "Searches that found nothing", "kind")

    def observe(self, kind: str, stage: str, seconds: float) -> None:
        """Note how long a stage of a request took.

        Args:
            kind: text, image, mixed, like, batch, embeddings or write.
            stage: queue, encode, search, fetch or total.
        """
        timer = self._timers.get((kind, stage))
        if timer is None:
            timer = self._timers[kind, stage] = self._seconds.labels(kind, stage)
        timer.observe(seconds)

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        """Note how long the block takes, if it succeeds, as the total of a request."""
        began = perf_counter()
        yield
        self.observe(kind, "total", perf_counter() - began)

    def observe_batch(self, lane: str, size: int, seconds: float) -> None:
        """Note a batch that a lane has encoded."""
        self._batches.labels(lane).observe(size)
        self._encode_seconds.labels(lane).inc(seconds)

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count a request that is answered; `route` is a template, of which there are few."""
        self._requests.labels(method if method in METHODS else "(other)", route, str(status)).inc()

    def count_refusal(self, reason: str) -> None:
        """Count a request that is refused as one too many: by "rate", "concurrency" or "queue"."""
        self._refusals.labels(reason).inc()

    def count_empty(self, kind: str) -> None:
        """Count a search without hits."""
        self._empty.labels(kind).inc()

    def watch(self, service: "SearchService") -> None:
        """Read the state of the service whenever the metrics are read: its index, its queues, its cache."""
        index = service.index
        self._gauge("index_items", "Items in the index", lambda: len(index))
        self._gauge(
            "index_age_seconds",
            "Seconds since the index was built",
            lambda: time() - datetime.fromisoformat(index.metadata.created).timestamp(),
        )
        info = self._library.Gauge(
            "likewise_index_info", "The index that answers", ["version", "model"], registry=self._registry
        )
        info.labels(index.metadata.build, index.metadata.model[:16]).set(1)
        waiting = self._library.Gauge(
            "likewise_encode_queue_length", "Values that wait to be encoded", ["lane"], registry=self._registry
        )
        for name, lane in service.lanes.items():
            waiting.labels(name).set_function(partial(getattr, lane, "queue_length"))
        self._registry.register(_CacheCounts(lambda: service.cache_counts))

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that a client reads, and its media type."""
        encode, media_type = self._library.exposition.choose_encoder(accept)
        return encode(self._registry), media_type

    def _count(self, name: str, help: str, *labels: str) -> Any:
        return self._library.Counter(f"likewise_{name}", help, labels, registry=self._registry)

    def _gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        self._library.Gauge(f"likewise_{name}", help, registry=self._registry).set_function(read)


class _CacheCounts:
    """Hits and misses, which the cache counts itself."""

    def __init__(self, read: Callable[[], tuple[int, int]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        from prometheus_client.core import CounterMetricFamily

        hits, misses = self._read()
        for name, help, value in (
            ("hits", "Query texts whose vectors were remembered", hits),
            ("misses", "Query texts that had to be encoded", misses),
        ):
            yield CounterMetricFamily(f"likewise_query_cache_{name}", help, value=value)
