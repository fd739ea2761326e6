"""Text requests and answers: parameters, tokenizers, decoding state, OpenAI-shaped documents."""
