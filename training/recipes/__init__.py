"""Recipes: one module per model that is trained here, each driven by a file in configs/."""
