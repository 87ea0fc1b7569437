"""What a trained network finds on held-out rows: its worst queries, a map, and a score below which nothing fits."""

import csv
import io

import numpy as np

from likewise.evaluation.error_analysis import Exhibits, Pair, exhibit_search, item_drawer
from likewise.evaluation.metrics import cosine_scores
from likewise.evaluation.ranks import Found, look_up
from likewise.evaluation.results import Threshold
from likewise.evaluation.threshold import calibrate_threshold
from likewise.files import write_file
from likewise.model.network import FIELD_MODALITY
from likewise.training.context import Ground
from likewise.training.features import Features
from likewise.training.hard_negatives import Suspect, mine
from likewise.training.questions import Questions, Towers, fuse_with, network_towers, subsets

SUSPECTS = "suspects.csv"
_LISTED, _SHOWN = 500, 12


def threshold_of(ground: Ground, features: Features, questions: Questions) -> Threshold | None:
    """Chosen on the questions, the items seen through all fields that are shown; None where nothing is asked."""
    towers = network_towers(ground.model.network, features, questions, ground.texts, ground.data.pictured)
    found = _found(ground, towers, questions)
    return calibrate_threshold(found.right, found.wrong) if found is not None else None


def exhibits_of(ground: Ground, features: Features, questions: Questions, suspects: list[Suspect]) -> Exhibits | None:
    """The worst of the questions with pictures, and a map of texts, pictures and whole items; None without any."""
    network, texts = ground.model.network, ground.texts
    towers = network_towers(network, features, questions, texts, ground.data.pictured)
    found = _found(ground, towers, questions)
    if found is None:
        return None
    shown = next(fields for _, fields in subsets(network.fields, towers))
    words = [field for field in shown if FIELD_MODALITY[field] == "text"]
    pictures = [field for field in shown if FIELD_MODALITY[field] == "image"]
    views = {
        name: fuse_with(network, towers, fields)
        for name, fields in (("texts", words), ("pictures", pictures))
        if fields
    }
    if len(views) > 1:
        views["whole items"] = fuse_with(network, towers, shown)
    draw = item_drawer(ground.catalog, pictured=bool(pictures))
    asked = [texts.texts[index] for index in questions.queries]
    pairs = [Pair(draw(suspect.row), draw(suspect.other), _reason(suspect)) for suspect in suspects[:_SHOWN]]
    return exhibit_search(
        asked, found, questions.relevant, questions.groups, views, lambda place: draw(int(questions.rows[place])), pairs
    )


def suspects_of(ground: Ground, features: Features) -> list[Suspect]:
    """Training rows that may be the same thing although nothing says so; `suspects.csv` in the run lists them."""
    rng = np.random.default_rng([ground.config.seed, 10])
    suspects = mine(ground.model.network, features, ground.data, 1, rng).suspects[:_LISTED]
    table = io.StringIO(newline="")
    lines = csv.writer(table)
    lines.writerow(("id", "other_id", "score", "own_score", "likeness", "near_duplicate"))
    for suspect in suspects:
        ids = ground.catalog.ids[suspect.row], ground.catalog.ids[suspect.other]
        figures = [f"{figure:.4f}" for figure in (suspect.score, suspect.own, suspect.likeness)]
        lines.writerow((*ids, *figures, str(suspect.near_duplicate).lower()))
    write_file(ground.run / SUSPECTS, table.getvalue())
    return suspects


def _reason(suspect: Suspect) -> str:
    scores = f"{suspect.score:.2f}, its own item {suspect.own:.2f}"
    nearly = "Nearly equal. " if suspect.near_duplicate else ""
    return f"{nearly}To the first one's title the second one's item scores {scores}."


def _found(ground: Ground, towers: Towers, questions: Questions) -> Found | None:
    network = ground.model.network
    shown = next((fields for _, fields in subsets(network.fields, towers)), None)
    if shown is None:
        return None
    items = fuse_with(network, towers, shown)
    return look_up(cosine_scores(towers.queries, np.asarray(items)), questions.relevant)
