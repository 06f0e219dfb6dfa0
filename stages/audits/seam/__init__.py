"""The seam audit: whether small probes can tell paint from photograph by local patches alone."""
