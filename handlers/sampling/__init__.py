"""Random numbers and token sampling: pure functions of numpy arrays."""
