"""The device and the mount: file descriptors, system calls, fusermount3.

Nothing here knows an opcode.
"""
