"""Thin executors over one contract, ``pipeline.engine.shard_runner.run_shard``."""
