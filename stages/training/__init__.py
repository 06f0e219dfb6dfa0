"""Training of the embedded scorer and out-painter, and a recipe's settings of the cropper's training."""
