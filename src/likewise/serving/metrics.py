"""Metrics of a server, as Prometheus reads them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import perf_counter, time
from typing import Any

from likewise.errors import MissingExtraError
from likewise.retrieval.index import Index
from likewise.serving.lanes import EncodedBatch, EncodeLane
from likewise.serving.limits import METHODS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus-client, which looks there when it is imported
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
        self._shown = self._registry
        if MULTIPROCESS_FOLDER in os.environ:  # the counts of all worker processes, from their files
            from prometheus_client.multiprocess import MultiProcessCollector

            # Describing itself, it would read these files, of which another worker may just be creating one.
            self._shown = prometheus_client.CollectorRegistry(auto_describe=False)
            MultiProcessCollector(self._shown)
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
        self._cached = self._count("query_cache", "Query texts that were remembered, or not", "outcome")
        self._empty = self._count("searches_without_hits", "Searches that found nothing", "kind")

    def observe(self, kind: str, stage: str, seconds: float) -> None:
        """Note how long a stage of a request took.

        Args:
            kind: text, image, mixed, like, batch, embeddings or write; for the queue, the lane.
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

    def observe_batch(self, lane: str, batch: EncodedBatch) -> None:
        """Note a batch that a lane has encoded."""
        self._batches.labels(lane).observe(batch.size)
        self._encode_seconds.labels(lane).inc(batch.seconds)
        for seconds in batch.waits:
            self._seconds.labels(lane, "queue").observe(seconds)

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count a request that is answered; `route` is a template, of which there are few."""
        self._requests.labels(method if method in METHODS else "(other)", route, str(status)).inc()

    def count_refusal(self, reason: str) -> None:
        """Count a request that is refused as one too many: by "rate", "concurrency" or "queue"."""
        self._refusals.labels(reason).inc()

    def count_empty(self, kind: str) -> None:
        """Count a search without hits."""
        self._empty.labels(kind).inc()

    def count_cached(self, hits: int, misses: int) -> None:
        """Count query texts whose vectors were remembered, and those that had to be encoded."""
        self._cached.labels("hit").inc(hits)
        self._cached.labels("miss").inc(misses)

    def watch(self, index: Index, lanes: Mapping[str, EncodeLane[Any]]) -> None:
        """Read the state of an index and the queues of lanes, by their names, whenever the metrics are read."""
        self._shown.register(_State(index, lanes))

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that a client reads, and its media type."""
        encode, media_type = self._library.exposition.choose_encoder(accept)
        return encode(self._shown), media_type

    def _count(self, name: str, help: str, *labels: str) -> Any:
        return self._library.Counter(f"likewise_{name}", help, labels, registry=self._registry)


class _State:
    """The index that answers, and what waits for the encoders of this process."""

    def __init__(self, index: Index, lanes: Mapping[str, EncodeLane[Any]]) -> None:
        self._index = index
        self._lanes = lanes

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        from prometheus_client.core import GaugeMetricFamily

        index, metadata = self._index, self._index.metadata
        age = time() - datetime.fromisoformat(metadata.created).timestamp()
        yield GaugeMetricFamily("likewise_index_items", "Items in the index", value=len(index))
        yield GaugeMetricFamily("likewise_index_age_seconds", "Seconds since the index was built", value=age)
        info = GaugeMetricFamily("likewise_index_info", "The index that answers", labels=["version", "model"])
        info.add_metric([metadata.build, metadata.model[:16]], 1)
        yield info
        waiting = GaugeMetricFamily("likewise_encode_queue_length", "Values that wait to be encoded", labels=["lane"])
        for name, lane in self._lanes.items():
            waiting.add_metric([name], lane.queue_length)
        yield waiting
