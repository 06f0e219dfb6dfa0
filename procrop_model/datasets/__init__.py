"""Public cropping sets in their published formats, read from a folder that the user names. Nothing is downloaded.

One file a format; ``registry.DATASETS`` names them all; each reader gives a ``labelled.LabelledSet``.
"""
