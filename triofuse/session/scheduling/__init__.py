"""Receives requests and runs handlers: Leader/Followers."""
