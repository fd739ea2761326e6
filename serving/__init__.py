"""The launcher: starts TorchServe on the model store, warms it, tells truthfully when it is ready, and stops it whole."""
