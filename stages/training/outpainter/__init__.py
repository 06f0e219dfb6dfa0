"""How the small out-painter is taught: crops of photographs with a known rectangle, the fitting, its card."""
