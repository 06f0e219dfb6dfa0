"""Placing photographs on canvases, treating the seam, and checks of the paint."""
