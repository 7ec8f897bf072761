"""Candles and posts from files."""
