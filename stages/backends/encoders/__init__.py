"""Pictures to vectors and tokens."""
