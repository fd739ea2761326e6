"""Routes of our own: everything that a model takes, and work that takes long."""
