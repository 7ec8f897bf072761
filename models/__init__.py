"""Encoders, heads, losses, the series index and checkpoints. Importing a module here that needs torch loads torch."""
