"""The seam audit: whether small probes can tell paint from photograph by local patches alone.

Notation: H, W height and width of a canvas in pixels; N patches, s their side in pixels; F features of a patch.
"""
