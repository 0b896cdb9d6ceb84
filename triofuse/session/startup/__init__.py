"""Before the first request: check arguments, negotiate INIT, check the root."""
