"""The nursery that serves one mount.

The path of a request::

    /dev/fuse
        | readv: one read is one request
        v
    Receiver ----> INTERRUPT, FORGET, DESTROY, ...: done at once, never queued
        |
        v
    the leader ------------------------------> serves it itself, without a task switch
        | at the limit, or beyond its user's share
        v
    Queue, a line for each user
        | the user with the fewest blocked requests is next
        |
        +---> a handler that has finished its request takes it
        |
        +---> memory channel: the raw request buffer, to a parked handler
        v
    Service: decode -> Filesystem.method(request) -> encode -> writev ----> /dev/fuse

One handler is the leader: it waits for the device.  How the lead passes from handler to
handler (the table of states is in ``scheduling/policy.py``)::

                 blocks: a parked handler, or a new one, is promoted
              +---------------------------------------------------------+
              |       (an empty message in the same memory channel)     v
    the leader, RUNNING  <------- the device has something ------- WATCHING
              |                                                         ^
              +---------------------------------------------------------+
                 nothing to serve

    a handler whose request had blocked:  BLOCKED -> RUNNING -> PARKED, or it ends

The folders, in the order of that path; each imports only from those below it:

==================  ==================================================================
``startup/``        before the first request: arguments, INIT, the root's type
``control/``        what ends a request early: INTERRUPT, signals, deadlines
``scheduling/``     receives requests, chooses a handler for each, runs the handlers
``answering/``      decodes, calls the filesystem, encodes, sends; undoes unsent replies
``notifications/``  notifications to the kernel
``in_flight/``      the table of requests that were read and are not answered
==================  ==================================================================

``inspection/`` reads the state of all of them.
"""
