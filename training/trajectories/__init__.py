"""Pairs, recipe and evaluation of price trajectories (report 000)."""
