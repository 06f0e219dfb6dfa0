"""The network and its parts; tensors only.

Notation:
    B: images of a batch.
    h, w: height and width of an image in pixels, multiples of 32.
    H, W: rows and columns of the feature map, h / 16 and w / 16; N = H W: its cells, as tokens.
    D: channels of the network (``CropperConfig.dim``); C: channels of the retrieval encoder.
    K: references of an image; T: tokens of a reference, or of a caption.
    Q: queries of the decoder; L: its layers; R: boxes scored by the RoI head.
    M: keys of an attention of any kind; E: channels of its queries and keys.

Boxes are ``cxcywh`` inside the network and ``xyxy`` everywhere else, both in 0..1 of the image. Masks are true where valid.
"""
