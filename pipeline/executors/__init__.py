"""Thin executors over one contract, ``pipeline.work.run_shard``."""
