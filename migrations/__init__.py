"""Alembic's migrations. ``moodtape migrate`` runs them (db/migrate.py); see docs/architecture.md."""
