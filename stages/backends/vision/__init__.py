"""What is in a picture: subject masks."""
