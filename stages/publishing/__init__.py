"""What ``build`` writes beside the shards: card, assignment to shards."""
