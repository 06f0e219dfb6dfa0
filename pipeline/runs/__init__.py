"""A run directory: its plan, receipts, journals and status."""
