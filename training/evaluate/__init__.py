"""Evaluations: one module per task; see training/registry.py for what each must offer."""
