"""Photographs to prompts."""
