"""The LanceDB engine."""
