"""Training the cropper.

Notation, beside that of ``procrop_model.network``:
    N: annotated crops of a canvas, padded to the most of a batch; the first is the pseudo-label or the best one.
    M: matched pairs of a query and an annotated crop.
    R: boxes scored by the RoI head.

A canvas is an out-painted photograph; its pseudo-label is the photograph's own rectangle. Scores are 0..10 in data files, quality
0..1 in tensors.
"""
