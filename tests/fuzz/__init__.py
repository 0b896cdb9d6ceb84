"""Bytes, values and events that nobody has thought of; see ``profile.py``."""
