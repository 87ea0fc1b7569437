"""A model: encode queries, items and pictures into the shared space; save it to a run folder and open it again."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from likewise.catalog.audio.decode import Sound
from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture
from likewise.config import OWN_FIELDS, Device, ModelSettings, TrainConfig, find_preset
from likewise.encoders.base import Encoder, Modality
from likewise.encoders.building import bound_parameters
from likewise.encoders.device import has_native_bfloat16, recall_precision, resolve_device
from likewise.encoders.feature_cache import FeatureCache
from likewise.encoders.modalities import find_reader
from likewise.errors import UserError
from likewise.files import lies_within, make_folder, replace_tree, temporary_folder, write_file
from likewise.model.checkpoint import count_weights, read_weights, write_weights
from likewise.model.class_vectors import recall_class_vectors
from likewise.model.featurizer import Featurizer, batches, prefetch
from likewise.model.field_embeddings import FieldEmbeddings, embed_fields
from likewise.model.field_encoders import build_encoders, restore_encoders
from likewise.model.heads import ClassNameMap
from likewise.model.network import Network
from likewise.model.occlusion import FieldScore, measure_patches, measure_words
from likewise.model.run_folder import CONFIG, ENCODERS, WEIGHTS, check_has_model, check_run, seal_run
from likewise.model.value_features import append_words, open_value
from likewise.parsing import read_json
from likewise.progress import Bar

Vectors = NDArray[np.float32]

_WINDOW = 2048  # rows whose towers are in memory at once
_QUERY_BATCH = 1024
_CACHED_AT_ONCE = 256  # rows that a cache takes at a time, as it waits for the disk each time


class Model:
    """A network on a device, with everything that encoding needs.

    Attributes:
        network: the towers and the fusion.
        settings: how the network was built.
        dim: the width of the shared space.
        fields: the item's fields.

    Example:
        >>> import likewise as lw
        >>> model = lw.Model.load("runs/products")
        >>> queries = model.encode_queries(["red shirt", "a blue circle"])
        >>> queries.shape  # unit vectors
        (2, 32)
        >>> items = model.encode_items(lw.Catalog.read("products.csv"))
        >>> similarity = queries @ items.T  # cosines
        >>> similarity.shape
        (2, 30)
    """

    def __init__(self, network: Network, settings: ModelSettings, device: torch.device, precision: dict[str, str]):
        self.network = network.to(device).eval()
        self.settings = settings.model_copy(update={"hflip_tta": network.hflip_tta})  # as decided
        self.device = device
        self.precision = precision  # by the names of `encoders` that are not fitted, "float32" or "bfloat16"
        self._featurizers: dict[str, Featurizer] = {}
        self._packed_texts: Featurizer | None = None
        self._fingerprint: tuple[object, str] | None = None

    @classmethod
    def create(
        cls,
        settings: ModelSettings | str = "lite",
        device: Device = "auto",
        precision: dict[str, str] | None = None,
        seed: int = 0,
        cache: Path | None = None,
        class_names: bool | ClassNameMap = True,
        catalog: Catalog | None = None,
        rows: NDArray[np.int64] | None = None,
        fitted: Mapping[str, Encoder] | None = None,
    ) -> "Model":
        """An untrained model from settings or a preset's name; its text space is its text encoder's own.

        Where the picture encoder has a classifier, pictures are placed in it by the names of their classes, unless
        `class_names` is false, as in models that were made before there were any; those of another model with the same
        encoders need not be encoded again. Without a given `precision` one batch is timed to choose it; `cache` is a
        folder that remembers the choice, and the vectors of the names. Fields such as numbers and categories are fitted
        to `rows` (all, for None) of `catalog`, unless the `encoders` of another model with these fields are given as
        `fitted`.

        Raises:
            UserError: an unknown preset, encoder or column, or fields that are fitted to a catalogue without one.
        """
        if isinstance(settings, str):
            settings = find_preset(settings)
        place = resolve_device(device)
        encoders = build_encoders(settings, seed, catalog, rows, copy.deepcopy(fitted))
        if class_names is False:
            encoders["image"] = encoders["image"].without_classes()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(settings, encoders.pop("text"), encoders.pop("image"), encoders)
        network.to(place)
        shared = {name: encoder for name, encoder in list_encoders(network).items() if not encoder.fitted}
        if precision is None:
            precision = {name: recall_precision(encoder, place, cache) for name, encoder in shared.items()}
        precision = {name: precision.get(name, precision["text"]) for name in shared}
        model = cls(network, settings, place, precision)
        if network.class_names is not None:
            if isinstance(class_names, ClassNameMap):
                network.class_names.load_state_dict(class_names.state_dict())
            else:
                network.class_names.set_names(model._recall_class_names(cache))
        return model

    @classmethod
    def load(cls, run: Path | str, device: Device = "auto") -> "Model":
        """Load the model of a run folder; no other files are needed.

        Raises:
            UserError: the folder holds no model, or its files do not fit together.
        """
        run = Path(run)
        _check_links(run)
        check_has_model(run)
        check_run(run)
        settings = TrainConfig.read(run / CONFIG).model_settings
        place = resolve_device(device)
        with bound_parameters(*count_weights(run / WEIGHTS), source=str(run / WEIGHTS)):
            encoders = restore_encoders(settings, run / ENCODERS)
            network = Network(settings, encoders.pop("text"), encoders.pop("image"), encoders)
        read_weights(run / WEIGHTS, network)
        network.to(place)
        return cls(network, settings, place, _read_precision(run, network, place))

    def save(self, run: Path | str) -> None:
        """Write weights, tokenizer, preprocessing and precision to a run folder, and last the manifest of its files.

        Raises:
            UserError: a file cannot be written.
        """
        run = Path(run)
        make_folder(run)
        with temporary_folder(run) as temporary:
            for name, encoder in self.encoders.items():
                encoder.save(temporary / name)
            write_file(temporary / "precision.json", json.dumps(self.precision))
            replace_tree(temporary, run / ENCODERS)
        if not (run / CONFIG).exists():
            TrainConfig(model=self.settings).write(run / CONFIG)
        write_weights(run / WEIGHTS, self.network)
        seal_run(run)

    @property
    def dim(self) -> int:
        return self.network.dim

    @property
    def fields(self) -> tuple[str, ...]:
        return self.network.fields

    @property
    def recording_fields(self) -> tuple[str, ...]:
        """The fields of the kind audio."""
        return self.network.recording_fields

    @property
    def fingerprint(self) -> str:
        """sha256 over weights and settings: two models with one fingerprint give the same vectors."""
        version = tuple((tensor.data_ptr(), tensor._version) for tensor in self.network.state_dict().values())
        if self._fingerprint is None or self._fingerprint[0] != version:
            digest = hashlib.sha256(self.settings.model_dump_json().encode())
            for encoder in self.encoders.values():
                digest.update(encoder.fingerprint().encode())
            for key, tensor in sorted(self.network.state_dict().items()):
                if not key.startswith("encoders."):
                    digest.update(key.encode())
                    digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self._fingerprint = (version, digest.hexdigest())
        return self._fingerprint[1]

    @property
    def encoders(self) -> dict[str, Encoder]:
        """All encoders by name: "text", "image", other kinds of fields, and those that are fitted to a column."""
        return list_encoders(self.network)

    def encoder(self, modality: str) -> Encoder:
        """The "text" or the "image" encoder, or another one by its name."""
        return self.encoders[modality]

    def featurizer(self, modality: Modality) -> Featurizer:
        """The encoder at its best speed on this device."""
        if modality not in self._featurizers:
            dtype = getattr(torch, self.precision.get(modality, "float32"))
            self._featurizers[modality] = Featurizer(self.encoder(modality), self.device, dtype)
        return self._featurizers[modality]

    def pack_texts(self) -> bool:
        """Encode texts from weights packed in bfloat16 from now on, where that is faster; whether it is.

        For a server: a query, or the texts of an item that is written, take about half the time, and the features of a
        text have a cosine of at least 0.9999 to what they were. It takes half the memory of the text encoder's layers
        more.
        """
        if self._packed_texts is None and self.device.type == "cpu":
            from likewise.encoders.packed_text import PackedText  # needs transformers, which not every encoder does

            packed = PackedText.build(self.encoder("text"))
            if packed is not None:
                # A server keeps the vectors of queries, and an item is hardly ever written twice with the same texts.
                self._packed_texts = Featurizer(packed.encoder, self.device, torch.float32, run=packed, remembered=0)
        return self._packed_texts is not None

    def feature_cache(
        self, modality: Modality, cache: Path, cut: int | None = None, mirror: bool = False
    ) -> FeatureCache:
        """Where features of this encoder at this precision, or activations before a cut, are kept below a folder."""
        encoder = self.encoder(modality)
        variant = (
            self.precision.get(modality, "float32")
            + (f"-cut-{cut}" if cut is not None else "")
            + ("-mirror" if mirror else "")
        )
        shape = None if cut is None else encoder.activation(cut).shape
        return FeatureCache(cache / "features", encoder, variant, shape)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Query embeddings (n, dim) float32, unit norm."""
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        done = 0
        for batch in batches(texts, _QUERY_BATCH):
            with torch.inference_mode():
                encoded = self.network.query(self._encode_texts(batch, prompt="query"))
            vectors[done : done + len(batch)] = encoded.cpu().numpy()
            done += len(batch)
        return vectors

    def _recall_class_names(self, cache: Path | None) -> Tensor:
        """(classes, dim) unit vectors of the class names of the picture encoder; a given cache keeps them."""
        names, text = self.encoder("image").read_class_names(), self.encoder("text")
        encoder = () if cache is None else (text.fingerprint(), self.precision["text"], self.device.type)
        return recall_class_vectors(names, self.encode_queries, self.dim, encoder=encoder, cache=cache)

    def knows_word(self, word: str) -> bool:
        """Whether a word is one piece for the tokenizer of texts: then it means something to the model."""
        return self.encoder("text").knows_word(word)

    def encode_field_texts(self, field: str, texts: Sequence[str]) -> Vectors:
        """Embeddings (n, dim) float32 of texts: each is an item that has only this field, such as a title."""
        self.network.check_fields([field])
        with torch.inference_mode():
            encoded = self.network.tower(field, self._encode_texts(texts))
        return encoded.float().cpu().numpy()

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embeddings (n, dim) of RGB pictures: each is an item that has only a picture."""
        self.network.check_fields(["image"])
        featurizer = self.featurizer("image")
        parts = []
        with torch.inference_mode():
            for batch in batches(images, 32):
                seen = [batch, [ImageOps.mirror(image) for image in batch]] if self.network.hflip_tta else [batch]
                features = [featurizer.forward(featurizer.encoder.prepare(side)) for side in seen]
                vectors = torch.stack([self.network.tower("image", side) for side in features]).sum(dim=0)
                parts.append(functional.normalize(vectors, dim=-1).cpu())
        return torch.cat(parts).numpy() if parts else np.empty((0, self.dim), dtype=np.float32)

    @property
    def prose_fields(self) -> tuple[str, ...]:
        """The fields of the kind text."""
        return tuple(name for name, kind in self.network.kinds.items() if kind == "text")

    def measure_words(
        self, field: str, text: str, spans: Sequence[tuple[int, int]], query: Vectors, others: Mapping[str, Vectors]
    ) -> Vectors:
        """What the cosine of a query with an item loses without each of some words of one of its texts.

        Args:
            field: of the kind text.
            text: without blanks at its ends.
            spans: where the words stand in it (start, end), in order.
            query: (dim,), or its first dimensions.
            others: the vectors of the item's other fields, of as many dimensions.

        Returns:
            (words,) float32.
        """
        score = FieldScore(self.network, field, query, others)
        return measure_words(self.network, self._text_variants, text, spans, field, score, self._packed_texts)

    @cached_property
    def _text_variants(self) -> Featurizer:
        """The text encoder for texts that nobody asks for again."""
        dtype = getattr(torch, self.precision.get("text", "float32"))
        return Featurizer(self.encoder("text"), self.device, dtype, remembered=0)

    def measure_patches(self, picture: Image.Image, query: Vectors, others: Mapping[str, Vectors]) -> Vectors:
        """What the cosine of a query with an item loses without each patch of its picture; see `measure_words`.

        Returns:
            (rows, columns) float32; `find_picture_box` says which part of the picture they cover.

        Raises:
            UserError: the picture encoder keeps no patches.
        """
        self.network.check_fields(["image"])
        score = FieldScore(self.network, "image", query, others)
        return measure_patches(self.network, self.featurizer("image"), picture, score)

    def find_picture_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that its patches cover (left, top, right, bottom), in pixels."""
        return self.encoder("image").find_box(width, height)

    @property
    def hears(self) -> bool:
        """Whether a field is of the kind audio, so that recordings can be queries."""
        return bool(self.recording_fields)

    def encode_audio(self, sounds: Sequence[Sound], field: str | None = None) -> Vectors:
        """Embeddings (n, dim) of recordings as queries: without what those that trained have in common.

        Args:
            sounds: their first 15 seconds are more than any encoder reads.
            field: of the kind audio; None: the first one of the model.

        Raises:
            UserError: the model has no such field.
        """
        fields = [name for name in self.recording_fields if field in (None, name)]
        if not fields:
            named = "of recordings" if field is None else f'"{field}" of recordings'
            raise UserError(f"the model has no field {named}: train it with --field COLUMN=audio")
        featurizer = self.featurizer(self.network.encoder_name(fields[0]))
        parts = []
        with torch.inference_mode():
            for batch in batches(sounds, featurizer.encoder.prepared_batch):
                features = featurizer.forward(featurizer.encoder.prepare(batch))
                vectors = functional.normalize(self.network.tower(fields[0], features), dim=-1)
                parts.append(self.network.centre_recordings(fields[0], vectors).cpu())
        return torch.cat(parts).numpy() if parts else np.empty((0, self.dim), dtype=np.float32)

    def encode_items(self, catalog: Catalog, fields: Sequence[str] | None = None) -> Vectors:
        """Item embeddings (items, dim) float32, in the catalogue's order.

        Args:
            catalog: the items.
            fields: see the items through some of their fields only.

        Returns:
            Unit vectors; a row with none of the fields is NaN, and is counted in `catalog.report` as `no-field`.
        """
        vectors = np.empty((len(catalog), self.dim), dtype=np.float32)
        for rows, embeddings in self._embed_windows(catalog, self.network.check_fields(fields)):
            vectors[rows] = embeddings.fuse(self.network)
        self._count_empty(catalog, vectors)
        return vectors

    def encode_fields(self, catalog: Catalog, fields: Sequence[str] | None = None) -> FieldEmbeddings:
        """Every field's own embedding of every item, each tower run once; fuse them with `FieldEmbeddings.fuse`.

        Args:
            catalog: the items.
            fields: those to embed; None: all.
        """
        seen = self.network.check_fields(fields)
        vectors = np.empty((len(catalog), len(seen), self.dim), np.float32)
        for rows, embeddings in self._embed_windows(catalog, seen):
            vectors[rows] = embeddings.vectors
        return FieldEmbeddings(seen, vectors)

    def encode_items_with_fields(self, catalog: Catalog) -> tuple[Vectors, FieldEmbeddings]:
        """Item embeddings as of `encode_items`, and the float16 embeddings of their fields, in one pass."""
        vectors = np.empty((len(catalog), self.dim), dtype=np.float32)
        by_field = np.empty((len(catalog), len(self.fields), self.dim), np.float16)
        for rows, embeddings in self._embed_windows(catalog, self.fields):
            vectors[rows] = embeddings.fuse(self.network)
            by_field[rows] = embeddings.vectors
        self._count_empty(catalog, vectors)
        return vectors, FieldEmbeddings(self.fields, by_field)

    def fuse_fields(self, vectors: Vectors, fields: Sequence[str]) -> Vectors:
        """Make items of the vectors of their fields.

        Args:
            vectors: (n, fields, dim) float32, NaN for fields that an item lacks.
            fields: their names.

        Returns:
            (n, dim) float32, unit norm; NaN for an item without any field.
        """
        return FieldEmbeddings(tuple(fields), vectors).fuse(self.network)

    @staticmethod
    def _count_empty(catalog: Catalog, vectors: Vectors) -> None:
        for row in np.flatnonzero(np.isnan(vectors[:, 0])):
            catalog.report.count("no-field", example=catalog.ids[row])

    def _embed_windows(self, catalog: Catalog, fields: tuple[str, ...]) -> Iterator[tuple[slice, FieldEmbeddings]]:
        """Rows of a catalogue and what the towers make of them, a window at a time."""
        values = {field: self._read_values(catalog, field) for field in fields if field != "image"}
        pictures = catalog.pictures if "image" in fields else []
        sides = [] if not any(pictures) else [False, True] if self.network.hflip_tta else [False]
        caches = {mirror: self.feature_cache("image", catalog.cache, mirror=mirror) for mirror in sides}

        def run_tower(field: str, rows: slice) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
            if field == "image":
                return self._embed_pictures(catalog, pictures[rows], caches)
            if self.network.kinds[field] == "text":
                return self._embed_texts(field, values[field][rows])
            return self._embed_values(catalog, field, values[field][rows])

        with Bar("Encoding items", len(catalog)) as bar:
            for start in range(0, len(catalog), _WINDOW):
                rows = slice(start, min(start + _WINDOW, len(catalog)))
                yield rows, embed_fields(self.network, fields, rows.stop - start, partial(run_tower, rows=rows))
                bar.advance(rows.stop - start)

    def _read_values(self, catalog: Catalog, field: str) -> Sequence[Any]:
        """What each item has in a field: a text or None, or the values of another kind."""
        if field not in catalog.table.columns:  # as of an item that is written by itself
            catalog.report.note(f'there is no column "{field}", which the model reads: no item has that field')
        if self.network.kinds[field] == "text":
            return read_texts(catalog, field)
        return read_values(catalog, field, self.network.kinds[field])

    def encode_values(
        self, catalog: Catalog, field: str, values: Sequence[Any], cache: Path | None = None
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Features of values of a field that is neither text nor picture; those that cannot be opened are counted.

        Args:
            catalog: opens them.
            field: of the network.
            values: n values as the kind's reader gives them.
            cache: a folder of caches; None: compute all features.

        Returns:
            The places (m,) of the values that can be used, and their features (m, width).
        """
        encoder, kind = self.network.encoder(field), self.network.kinds[field]
        reader, featurizer = find_reader(kind, field), self.featurizer(self.network.encoder_name(field))
        is_costly = not encoder.fitted or encoder.most_fitted is not None
        name = self.network.encoder_name(field)
        known = self.feature_cache(name, cache) if cache is not None and is_costly else None
        keys = [] if known is None else [reader.find_key(value) for value in values]
        missing = None if known is None else set(known.missing(keys))
        todo = [place for place in range(len(values)) if missing is None or keys[place] in missing]
        usable, parts = np.ones(len(values), bool), list[Tensor]()
        pending = dict[str, NDArray[np.float16]]()

        def prepare(places: list[int]) -> tuple[list[int], dict[str, Tensor] | None]:
            opened = {place: open_value(catalog, reader, values[place]) for place in places}
            kept = [place for place in places if opened[place] is not None]
            return kept, encoder.prepare([opened[place] for place in kept]) if kept else None

        size = encoder.prepared_batch
        for places, (kept, inputs) in zip(batches(todo, size), prefetch(prepare, batches(todo, size)), strict=True):
            usable[np.setdiff1d(places, kept)] = False
            if inputs is None:
                continue
            features = featurizer.forward(inputs)
            if known is None:
                parts.append(features)
                continue
            pending.update(zip([keys[place] for place in kept], features.cpu().numpy().astype(np.float16), strict=True))
            if len(pending) >= _CACHED_AT_ONCE:
                known.add(list(pending), np.stack(list(pending.values())))
                pending.clear()
        found = np.flatnonzero(usable)
        if known is not None:
            if pending:
                known.add(list(pending), np.stack(list(pending.values())))
            parts = [torch.from_numpy(known.gather([keys[place] for place in found.tolist()])).to(self.device).float()]
        encoded = torch.cat([torch.empty(0, *encoder.feature_shape, device=self.device), *parts])
        kept_values = [values[place] for place in found.tolist()]
        return found, append_words(encoder, catalog, reader, kept_values, encoded, self.featurizer("text").texts)

    def _embed_values(
        self, catalog: Catalog, field: str, shown: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Embed the values of a window of rows; an item's several values are averaged."""
        numbers: dict[Any, int] = {}
        pairs = [(row, numbers.setdefault(value, len(numbers))) for row, found in enumerate(shown) for value in found]
        if not pairs:
            return
        usable, features = self.encode_values(catalog, field, list(numbers), catalog.cache)
        places = np.full(len(numbers), -1)
        places[usable] = np.arange(len(usable))
        rows, chosen = np.array(pairs).T
        rows, chosen = rows[places[chosen] >= 0], places[chosen[places[chosen] >= 0]]
        sums = torch.zeros(len(shown), self.dim, device=self.device)
        vectors = self.network.tower(field, features)
        sums.index_add_(0, torch.from_numpy(rows).to(self.device), vectors[torch.from_numpy(chosen).to(self.device)])
        present = np.unique(rows)
        yield present, functional.normalize(sums[torch.from_numpy(present).to(self.device)], dim=-1)

    def _embed_texts(self, field: str, values: Sequence[str | None]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        rows = [row for row, text in enumerate(values) if text is not None]
        if rows:
            features = self._encode_texts([cast(str, values[row]) for row in rows])
            yield np.array(rows), self.network.tower(field, features)

    def _encode_texts(self, texts: Sequence[str], prompt: str = "document") -> Tensor:
        return (self._packed_texts or self.featurizer("text")).texts(texts, prompt)

    def _embed_pictures(
        self, catalog: Catalog, pictures: Sequence[tuple[Picture, ...]], caches: dict[bool, FeatureCache]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Embed the images of a window of rows; an item's several pictures, and their sides, are averaged."""
        rows_of: dict[str, list[int]] = {}
        distinct: dict[str, Picture] = {}
        for row, shown in enumerate(pictures):
            for picture in shown:
                rows_of.setdefault(picture.key, []).append(row)
                distinct[picture.key] = picture
        sums = torch.zeros(len(pictures), self.dim, device=self.device)
        present = torch.zeros(len(pictures), dtype=torch.bool, device=self.device)
        for mirror, cache in caches.items():
            stream = self.featurizer("image").pictures(
                distinct.values(), catalog.open_picture, mirror=mirror, cache=cache
            )
            for batch in stream:
                for key, cause in batch.failed.items() if not mirror else ():
                    catalog.report.count(cause, example=catalog.ids[rows_of[key][0]] if key in rows_of else key)
                if batch.keys:
                    encoded = self.network.tower("image", batch.features)
                    for key, vector in zip(batch.keys, encoded, strict=True):
                        sums[rows_of[key]] += vector
                        present[rows_of[key]] = True
        yield present.nonzero()[:, 0].cpu().numpy(), functional.normalize(sums[present], dim=-1)


def list_encoders(network: Network) -> dict[str, Encoder]:
    """The encoders of a network by name."""
    return {name: cast(Encoder, encoder) for name, encoder in network.encoders.items()}


def read_texts(catalog: Catalog, field: str) -> list[str | None]:
    """A text field of each item, None where it is blank or the catalogue has no such column."""
    if field not in catalog.table.columns:
        return [None] * len(catalog)
    if field in OWN_FIELDS:
        return catalog.texts(field)
    return [(text.strip() or None) if text is not None else None for text in catalog.texts(field)]


def read_values(catalog: Catalog, field: str, kind: str) -> list[tuple[Any, ...]]:
    """The values of each item in a field of another kind; none where the catalogue has no such column."""
    if field not in catalog.table.columns:
        return [()] * len(catalog)
    return list(find_reader(kind, field).read(catalog, field))


def _check_links(run: Path) -> None:
    """See that no file of a run is a link to something outside of it."""
    for name in (CONFIG, WEIGHTS, ENCODERS):
        if not lies_within(run / name, run):
            raise UserError(f"{run / name} is a link that points outside the run: put the file itself there")


def _read_precision(run: Path, network: Network, device: torch.device) -> dict[str, str]:
    """The precision that a run used where this device has it natively, float32 elsewhere."""
    source = run / ENCODERS / "precision.json"
    try:
        recorded = read_json(source)
        shared = [name for name, encoder in list_encoders(network).items() if not encoder.fitted]
        native = {name: recorded[name] == "bfloat16" and has_native_bfloat16(device) for name in shared}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{source} is missing or damaged: train the model again") from None
    return {name: "bfloat16" if usable else "float32" for name, usable in native.items()}
