"""Encoders: images to vectors for retrieval and tokens for fusion."""
