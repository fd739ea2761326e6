"""What was made, kept for whoever asked for it: written beside the answer, read and deleted by its owner alone."""
