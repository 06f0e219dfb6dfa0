"""Conversion of public cropping sets to shards, and of sets and datasets to CAD text files."""
