"""Proposers of candidate boxes."""
