"""The kernel's side of a channel, for tests without a kernel."""
