"""Requests that were read and are not answered: where each is."""
