"""Sources of candidate boxes."""
