"""Training of the embedded models, and the settings of a training."""
