"""Scorers: images and boxes to scores.

Notation: N boxes of an image, F features of a box, H and W height and width in pixels. Features take boxes as fractions of
the picture, scorers in pixels.
"""
