"""Segmenters, and Segment Anything in its three roles: encoder, segmenter and composer."""
