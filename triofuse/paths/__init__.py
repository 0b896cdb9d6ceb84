"""A filesystem by path, for stores whose names are paths."""
