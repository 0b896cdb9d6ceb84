"""The command ``triofuse``: mount a URL or a filesystem by name; list; unmount."""
