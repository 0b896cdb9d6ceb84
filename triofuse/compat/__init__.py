"""Other libraries' modules, served by triofuse: moving over.

Two ways to move a program:

* Change one import: ``import triofuse.compat.pyfuse3 as pyfuse3``, or
  ``import triofuse.compat.fuse as fuse`` in place of fusepy and mfusepy.
* Change nothing: ``python -m triofuse.compat PROGRAM [ARGUMENT ...]`` runs a program, and
  the Python programs that it starts, with triofuse in place of ``pyfuse3``, ``fuse``,
  ``fusepy`` and ``mfusepy``.

**The same** are all names, arguments, results and defaults of pyfuse3 3.5, also those of
`triofuse.compat.pyfuse3.asyncio`.  A program may mount before an event loop runs, and
fork between ``init()`` and ``main()``.  The capabilities asked of the kernel are those of
libfuse: ATOMIC_O_TRUNC, and READDIRPLUS for all listings.

**Better**:

* A client that is killed while a handler works for it is gone at once.  The handler is
  not cancelled: it goes on.  What it returns is undone: the name is forgotten, the open
  file released.  Requests that the kernel would not have sent meanwhile are held back:
  changes in the same directory, and the release of the same file.
* An exception in a handler is that caller's EIO and a traceback in the log, not the end
  of ``main()``.  An ``OSError`` is an error for the caller, with its errno.
* Notifications may be called anywhere.  In a handler, what would wait for the handler's
  own request is sent after the reply.  In the event loop nothing blocks for longer than
  0.05 seconds; then a thread sends on, and an error is logged.
* ``terminate()`` may be called in any thread and in a signal handler.  With the writeback
  cache it unmounts while handlers still answer, so that nothing written is lost.
* ``init()`` says what failed and what to do.  A second ``init()`` says that one is
  mounted.  A mount that was not closed is unmounted when the program exits.
* Open files that the kernel has not released at the end are released then.
* Any number of mounts, with `triofuse.mount`; pyfuse3's functions know one.

**Different**:

* ``main(min_tasks)`` has no effect.  Tasks are started when they are needed; with
  ``max_tasks=1`` handlers do not overlap, except that of ``forget``.
* ``forget`` gets the nodes of one or more FORGET messages, a moment later.
* A reply that the kernel would refuse is logged with the reason, and the caller gets EIO:
  more bytes than ``read`` was asked for, a mode without file type.
* ``st_birthtime_ns`` is kept and copied, but Linux has no place for it.
* In asyncio, trio runs as a guest of the loop, and a request takes longer than in trio.

To go further, subclass `triofuse.Filesystem`: handlers are cancelled when their caller is
killed, and there are more operations.
"""
