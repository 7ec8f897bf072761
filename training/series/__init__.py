"""Pretraining of series encoders (report 004): data, recipe, evaluation, the report's table."""
