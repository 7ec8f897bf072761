"""Recipe, windows and evaluation of hype (report 003)."""
