"""The steps between versions of the tables, one file each; `revision` and `down_revision` make their order."""
