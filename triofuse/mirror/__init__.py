"""The parts of passthrough.py: inodes by handle, the caller's rights, descriptors."""
