"""Training of the composition scorer: pairs of crops, features of views, the ranking head, its evaluation and card.

Notation: N crops of a picture, P pairs of crops, F features of a crop, M members of the head. Boxes are fractions of the
picture unless their name ends in ``_px`` or a docstring says pixels.
"""
