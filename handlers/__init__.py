"""What runs inside TorchServe: numpy and an inference engine, no torch. Ships in every archive, imports nothing of ours."""
