"""Doing shards: what is done, what can be done next, and the loop that does it."""
