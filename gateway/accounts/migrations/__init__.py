"""Alembic's folder: the steps between versions of the tables, one file each in `versions/`."""
