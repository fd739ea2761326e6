"""Other ways to serve the same model, each in a process of its own: what Atelier is compared with."""
