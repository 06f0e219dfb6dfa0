"""What every layer shares: errors, records, boxes, seeds, settings, and the contract of a stage."""
