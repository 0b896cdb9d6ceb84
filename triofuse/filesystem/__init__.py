"""What a filesystem's author subclasses and holds: pure values, no I/O, no trio.

This is the vocabulary that all layers share; `triofuse.wire` translates it to
the kernel's bytes.
"""
