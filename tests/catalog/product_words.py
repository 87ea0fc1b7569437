"""Words of which made-up products are made."""

WORDS = ["red", "blue", "green", "circle", "square", "shirt", "shoes", "hat", "bag", "cotton", "leather", "linen"]
WORDS += ["summer", "winter", "small", "large", "kids"]
