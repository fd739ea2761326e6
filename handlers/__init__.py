"""Runs inside TorchServe: numpy and a runtime, no torch. Ships in every archive, imports nothing of ours."""
