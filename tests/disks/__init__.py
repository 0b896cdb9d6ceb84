"""Disks that fail on command, and what a power cut leaves of them."""
