"""What commands do, usable from Python without a terminal: open a session and run it."""
