"""Queries, one module per subject; every function takes an open connection and never commits."""
