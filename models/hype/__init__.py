"""Hype: will activity about a market be high in the next window (report 003)."""
