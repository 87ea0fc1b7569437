"""The server that one writes in an afternoon: FastAPI, sentence-transformers, and an HNSW graph of FAISS.

It has the same encoder weights as the preset `lite` (all-MiniLM-L6-v2, in the precision that the library chooses) and
the same items. MiniLM gives 384 dimensions, so the graph holds the first 384 of the items' vectors. Two ways to serve:

* pool: FastAPI's own, a thread for each of up to 40 requests, all of which encode at once;
* lock: the same threads, of which one encodes at a time.

python -m peers.plain_server ITEMS GRAPH --encode pool --threads 2 --port 8000
"""

import argparse
import json
import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import faiss
import numpy as np

DIM = 384
_NEIGHBOURS, _BUILT, _SEARCHED = 32, 80, 64  # edges of a node; breadth while building, and while searching


def build_graph(vectors: np.ndarray, file: Path) -> None:
    """An HNSW graph of (n, ≥ 384) vectors, written to a file."""
    cut = np.ascontiguousarray(vectors[:, :DIM], np.float32)
    faiss.normalize_L2(cut)
    graph = faiss.IndexHNSWFlat(DIM, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BUILT
    graph.add(cut)
    faiss.write_index(graph, str(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", type=Path, help="JSON lines, in the order of the graph's nodes")
    parser.add_argument("graph", type=Path)
    parser.add_argument("--encode", choices=("pool", "lock"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="of one encoding")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    import torch
    import uvicorn

    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    app = _app(arguments.items, arguments.graph, one_at_a_time=arguments.encode == "lock")
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


def _app(items: Path, graph: Path, *, one_at_a_time: bool) -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    from likewise.encoders.packaged import MINILM

    model = SentenceTransformer(str(MINILM.locate().parent), device="cpu")
    index = faiss.read_index(str(graph))
    index.hnsw.efSearch = _SEARCHED
    known = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
    lock = threading.Lock() if one_at_a_time else nullcontext()

    class Search(BaseModel):
        text: str
        k: int = 10

    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/search")
    def search(asked: Search) -> dict[str, Any]:
        with lock:
            vector = model.encode([asked.text], normalize_embeddings=True, show_progress_bar=False)
        scores, rows = index.search(vector, asked.k)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return {"hits": [{"id": known[row]["id"], "score": score, "fields": known[row]} for row, score in found]}

    return app


if __name__ == "__main__":
    main()
