"""Who calls: keys, their store, and what a caller may do."""
