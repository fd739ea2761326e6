"""What may be asked and answered: word lists, patterns, a classifier, a list of blocked images, and their decisions."""
