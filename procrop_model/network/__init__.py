"""The network and its parts; tensors only."""
