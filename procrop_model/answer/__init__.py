"""From scored boxes to the crop of best expected agreement."""
