"""Public cropping sets: evaluation reports, and conversion to shards and folders."""
