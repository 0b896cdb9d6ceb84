"""Ready-made parts for filesystems: what many need and few want to write."""
