"""The protocol of /dev/fuse: bytes in, bytes out.  No trio, no file descriptors.

`triofuse.wire.operations` is the table: one row per opcode, with its decoder, its
method of `triofuse.filesystem.Filesystem` and its encoder.
"""
