"""Surroundings for photographs."""
