"""Recipes, data and evaluation of the mood of a post (report 002)."""
