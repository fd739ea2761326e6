"""One file a step; `revision` and `down_revision` make the order."""
