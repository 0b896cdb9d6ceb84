"""What stands between a filesystem and its store: threads, and blocks in memory."""
