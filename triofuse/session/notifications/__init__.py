"""What the kernel is told unasked."""
