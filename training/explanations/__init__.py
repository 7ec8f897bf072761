"""Training and measuring of explanations (report 001)."""
