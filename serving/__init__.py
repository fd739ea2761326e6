"""The launcher: starts TorchServe on the model store, warms it, tells when it is ready, and stops it whole."""
