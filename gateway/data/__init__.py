"""What an operator does with everything that is kept: export, deletion, rotation of keys, backup and restore."""
