"""A small diffusion model in pixel space, trained to continue photographs beyond their frame.

Notation: B canvases of a batch, H and W height and width at the model's size in pixels. A canvas has 7 channels: noisy RGB
in -1..1, the photo with its edge pixels repeated outward in -1..1, and a mask that is 1 on the photo.
"""
