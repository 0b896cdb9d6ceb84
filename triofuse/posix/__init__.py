"""Ready-made parts for filesystems: file locks and poll readiness."""
