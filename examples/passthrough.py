"""Mirror a directory: ``python examples/passthrough.py SOURCE MOUNTPOINT``.

It shows how a filesystem of real files is kept honest:

- Whatever the kernel knows is held by a descriptor or a file handle (triofuse/mirror/nodes.py), and
  used through ``*at()`` calls (triofuse/mirror/libc.py has those that Python lacks) and
  ``/proc/self/fd``: never through a path, where another process could have put
  something else since the kernel looked.
- What a caller makes is made with the caller's ids and umask, so that owners,
  quotas, setgid directories and default ACLs come out as they do in SOURCE.
- The kernel checks permissions, ACLs included: it is told to, see ``init``.
- File handles of the mirror, as an NFS server keeps, are good for as long as SOURCE's
  are, where these fit in a node number; else there are none (triofuse/mirror/handles.py).
- The kernel reads, writes and maps the files of SOURCE itself where it can (root,
  Linux 6.9, no stacked filesystem below), at SOURCE's own speed: ``backing_fd``.
  Else it asks, and the log says why; READs are then answered with the descriptor.

Calls on metadata, and writes that come here, are made right in the trio loop: with
a local disk and its page cache they take a microsecond or two, a thread would cost
sixty.  The price is that a SOURCE that hangs, say on a dead server, hangs
all requests.  What always waits for a disk goes to a thread: syncing and copying.

Nobody gets more through the mirror than in SOURCE: no blocks kept for root, nothing
past a quota (triofuse/mirror/credentials.py), no descriptors that others need (triofuse/mirror/shares.py).

It leaves out locks against users of SOURCE itself: a lock that is waited for would
have to wait in a thread, for ever perhaps, so the kernel keeps those of the mount.
Changes of attributes in SOURCE itself may show a second late, and what a mapping has
changed shows with ``-o nopassthrough`` when it is synced or unmapped.  Root keeps to
quotas where the kernel writes itself.  Other filesystems mounted in SOURCE are shown
too, and their inode numbers may be the same as those of SOURCE.
"""

from __future__ import annotations

import triofuse
from triofuse.mirror.filesystem import Passthrough, make

__all__ = ["Passthrough", "make"]

if __name__ == "__main__":
    triofuse.main(make, foreground=True)
