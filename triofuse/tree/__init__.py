"""A filesystem made of nodes: directories, files, links, each a Python object."""
