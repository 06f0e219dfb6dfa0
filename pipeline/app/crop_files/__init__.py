"""Cropping many files: inputs, outputs, and going on after a stop."""
