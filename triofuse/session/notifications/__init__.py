"""Notifications to the kernel."""
