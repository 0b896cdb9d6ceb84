"""Answers one request: decode, call the filesystem, encode, send."""
