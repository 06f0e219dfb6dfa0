"""Checks of a run directory against its receipts, its repair, and the rules of WebDataset shards."""
