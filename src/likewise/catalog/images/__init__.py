"""Pictures from untrusted places: where they lie, how they are fetched and kept, and how they become RGB."""
