"""What is known of a run before it starts: its size, costs and time, and what would stop it."""
