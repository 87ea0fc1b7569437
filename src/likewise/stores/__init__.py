"""Where embeddings and metadata are kept and searched: the `Store` contract and one folder for each engine."""
