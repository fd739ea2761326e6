"""From a checkpoint to a measured, verified bundle, and from a bundle to a TorchServe archive."""
