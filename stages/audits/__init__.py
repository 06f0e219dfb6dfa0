"""Audits of a run's canvases (``procrop-data audit``); they are no stages of the recipe."""
