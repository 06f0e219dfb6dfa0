"""The reference database: professional photographs found by features."""
