"""Alembic's environment and the migrations; old ones are never changed."""
