"""A two-tower model in the manner of CLIP, written plainly: InfoNCE between titles, descriptions and pictures.

Both encoders are trained, each with a linear projection into 512 dimensions; an item is the mean of the towers that it
has (Radford et al. 2021, https://arxiv.org/abs/2103.00020).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from likewise.catalog.catalog import Catalog
from likewise.encoders.packaged import MINILM
from likewise.evaluation.task import RetrievalTask
from peers.best import Best
from peers.clock import Pace, cosine
from peers.examples import Examples, columns_of
from peers.photos import WIDTH, PooledEfficientNet, pixels_of, pooled_features
from peers.seen import Seen
from peers.settings import PeerSettings
from peers.task import Task

_DIM = 512
_TEMPERATURE = 0.07
_HIGHEST_SCALE = 100.0
_WEIGHT_DECAY = 0.05
_CLIP_NORM = 1.0
_TEXTS_AT_ONCE = 128


class TwoTower(nn.Module):
    """Texts and pictures to unit vectors (n, 512)."""

    def __init__(self) -> None:
        super().__init__()
        folder = MINILM.locate().parent
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.text = AutoModel.from_pretrained(folder)
        self.image = PooledEfficientNet()
        self.text_projection = nn.Linear(self.text.config.hidden_size, _DIM, bias=False)
        self.image_projection = nn.Linear(WIDTH, _DIM, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))

    def texts(self, texts: list[str]) -> Tensor:
        """Mean pooling over tokens, as all-MiniLM-L6-v2 was trained."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        states = self.text(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return functional.normalize(self.text_projection(pooled), dim=-1)

    def pictures(self, features: Tensor) -> Tensor:
        """From pooled features (n, 1280)."""
        return functional.normalize(self.image_projection(features), dim=-1)


def train(task: Task, settings: PeerSettings) -> tuple[Seen, dict[str, object]]:
    """Train until the clock says stop, with the best weights on validation; the answers, and notes for the record."""
    torch.manual_seed(task.seed)
    rng = np.random.default_rng(task.seed)
    model, examples = TwoTower(), Examples.of(task.train)
    sight = _Sight(model, locked=settings.picture_tower == "locked")
    sight.remember(examples.pictures)
    sight.remember([picture for *_, picture in columns_of(task.validation)])
    optimizer = torch.optim.AdamW(_groups(model, settings), betas=(0.9, 0.98))
    pace, best, epochs, steps = Pace(task.clock), Best(), 0, 0
    while pace.progress < 1:
        for batch in examples.batches(settings.batch_size, rng):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * cosine(pace.progress)
            model.train()
            loss = _loss(model, sight, examples, batch, rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
            optimizer.step()
            steps += 1
            if pace.due():
                best.offer(
                    pace.look(lambda: task.score(_answers(sight, task.validation, task.validation_questions))),
                    model,
                    pace.progress,
                )
            if pace.progress >= 1:
                break
        else:
            epochs += 1
    best.restore(model)
    seconds = task.clock.spent
    notes = {"seconds": seconds, "validation": best.score, "epochs": epochs, "steps": steps, "best at": best.progress}
    return _answers(sight, task.test, task.questions), notes


def _loss(model: TwoTower, sight: "_Sight", examples: Examples, batch: list[int], rng: np.random.Generator) -> Tensor:
    """The mean of InfoNCE between titles and each of: pictures, descriptions, and items as the mean of both."""
    scale = model.log_scale.exp().clamp(max=_HIGHEST_SCALE)
    titles = model.texts([examples.titles[row] for row in batch])
    described = [place for place, row in enumerate(batch) if examples.descriptions[row] is not None]
    pictured = [place for place, row in enumerate(batch) if examples.pictures[row] is not None]
    items, losses = torch.zeros_like(titles), []
    for places, side in ((described, "text"), (pictured, "image")):
        if not places:
            continue
        rows = [batch[place] for place in places]
        if side == "text":
            vectors = model.texts([str(examples.descriptions[row]) for row in rows])
        else:
            vectors = sight.pictures([str(examples.pictures[row]) for row in rows], rng)
        losses.append(_info_nce(titles[places], vectors, scale))
        items = items.index_add(0, torch.tensor(places), vectors)
    losses.append(_info_nce(titles, functional.normalize(items, dim=-1), scale))
    return torch.stack(losses).mean()


def _info_nce(anchors: Tensor, items: Tensor, scale: Tensor) -> Tensor:
    logits = scale * anchors @ items.T
    target = torch.arange(len(logits))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def _groups(model: TwoTower, settings: PeerSettings) -> list[dict[str, object]]:
    """Encoders at their own rate, projections and temperature at another; no decay on vectors and the temperature."""
    model.image.requires_grad_(settings.picture_tower == "full")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_encoder = name.startswith(("text.", "image."))
            rate = settings.learning_rate if is_encoder else settings.head_learning_rate
            groups.setdefault((rate, _WEIGHT_DECAY if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": parameters, "peak": rate, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


class _Sight:
    """Pictures through the picture tower; a locked encoder sees every picture once."""

    def __init__(self, model: TwoTower, locked: bool) -> None:
        self.model = model
        self.locked = locked
        self._features: dict[str, Tensor] = {}

    def remember(self, pictures: list[str | None]) -> None:
        """Encode these pictures now if the encoder is locked."""
        new = [path for path in dict.fromkeys(pictures) if path is not None and path not in self._features]
        if self.locked and new:
            self._features.update(zip(new, pooled_features(self.model.image, new), strict=True))

    def pictures(self, paths: list[str], rng: np.random.Generator | None = None) -> Tensor:
        """Unit vectors (n, 512); with `rng` of augmented pictures, unless the encoder is locked."""
        if self.locked:
            self.remember(list(paths))
            return self.model.pictures(torch.stack([self._features[path] for path in paths]))
        if rng is None:
            return self.model.pictures(pooled_features(self.model.image, paths))
        return self.model.pictures(self.model.image(pixels_of(paths, rng)))


@torch.no_grad()
def _answers(sight: _Sight, catalog: Catalog, asked: RetrievalTask) -> Seen:
    model = sight.model
    model.eval()

    def texts(values: list[str | None]) -> np.ndarray:
        vectors = np.full((len(values), _DIM), np.nan, np.float32)
        known = [row for row, value in enumerate(values) if value is not None]
        for start in range(0, len(known), _TEXTS_AT_ONCE):
            rows = known[start : start + _TEXTS_AT_ONCE]
            vectors[rows] = model.texts([str(values[row]) for row in rows]).numpy()
        return vectors

    _, descriptions, pictures = zip(*columns_of(catalog), strict=True)
    pictured = [row for row, picture in enumerate(pictures) if picture is not None]
    seen = np.full((len(catalog), _DIM), np.nan, np.float32)
    if pictured:
        seen[pictured] = sight.pictures([str(pictures[row]) for row in pictured]).numpy()
    return Seen.by_vectors(texts(asked.texts), texts(list(descriptions)), seen, "mean")
