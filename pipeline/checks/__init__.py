"""Whether what was written is still what its receipts say, and its repair."""
