"""Training the cropper."""
