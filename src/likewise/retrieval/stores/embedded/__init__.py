"""The parts of the embedded store: an immutable segment on disk, a delta in memory, a journal between them."""
