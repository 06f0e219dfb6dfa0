"""Training of the small out-painter: canvases cut from photographs with a known rectangle, the training loop, its card.

Notation: B canvases of a batch, H and W height and width at the model's size in pixels.
"""
