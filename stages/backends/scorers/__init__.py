"""Crops to scores."""
