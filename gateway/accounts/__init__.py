"""Who calls: API keys, what each may do and has used, and the log of what was asked."""
