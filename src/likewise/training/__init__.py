"""Pairs and views, losses, feature cache and the loop that learns the space."""
