"""Routes as OpenAI's clients know them."""
