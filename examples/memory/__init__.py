"""The parts of memfs.py: nodes, names, contents and the space for them."""
