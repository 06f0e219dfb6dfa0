"""Recipes, and what they will cost."""
