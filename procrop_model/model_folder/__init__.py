"""A cropper as a folder: configuration, weights, digest, and the photographs it learned from."""
