"""Finished media as files, each with the mark of generated content."""
