"""Photographs that are nearly the same: signatures, similarity, leaks between splits."""
