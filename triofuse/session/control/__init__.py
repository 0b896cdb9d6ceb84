"""Control requests (INTERRUPT, FORGET), signals to callers, and deadlines."""
