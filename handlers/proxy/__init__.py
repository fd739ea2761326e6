"""TorchServe's worker: a thin proxy in front of one engine process. No numpy, no runtime, no generator."""
