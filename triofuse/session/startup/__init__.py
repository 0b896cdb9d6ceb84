"""What comes before the first request: arguments, INIT, the root."""
