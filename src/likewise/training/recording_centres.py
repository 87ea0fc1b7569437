"""What recordings have in common, which is taken out of those that are queries.

A recording says little of what it names, so its vector lies near the mean of all of them, and the items that happen to
lie near that mean would be found by every recording (hubs; Radovanović et al. 2010, "Hubs in Space").
"""

import torch

from likewise.training.batches import TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.features import Features
from likewise.training.validation import embed_rows


def set_recording_centres(context: TrainingContext, features: Features, data: TrainingSet) -> None:
    """Give the network, in its present state, the mean vector of the recordings of `data`, by field."""
    network = context.model.network
    for place, field in enumerate(network.recording_fields):
        rows = data.rows[data.has_field(field, data.rows)]
        if len(rows):
            vectors = embed_rows(network, features, data, rows, (field,)).field(field)
            network.recording_centres[place] = torch.from_numpy(vectors.mean(axis=0))
