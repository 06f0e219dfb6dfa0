"""What ``audit`` measures on the canvases of a run; no stage of the recipe."""
