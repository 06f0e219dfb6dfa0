"""Cropping of folders of any store by the executors of the pipeline."""
