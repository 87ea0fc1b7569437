"""The network: towers, fusion, and the model that encodes queries and items."""
