"""The nursery that serves one mount.

The path of a request::

    /dev/fuse
        | readv: one read is one request
        v
    Receiver ----> INTERRUPT, FORGET and their kin: done at once, they wait for nobody
        |
        v
    the leader ------------------------------> serves it in place, without a task switch
        | at the limit, or beyond its user's share
        v
    Queue, a line for each user
        | the user with the fewest blocked requests is next
        |
        +---> a handler that is done with another request takes it
        |
        +---> memory channel: the raw request buffer, to a parked handler
        v
    Service: decode -> Filesystem.method(request) -> encode -> writev ----> /dev/fuse

The path of the lead, that is of the duty to wait for the device.  Only one handler has
it; ``scheduling/policy.py`` has the table::

                 blocks: a parked handler, or a new one, is promoted
              +---------------------------------------------------------+
              |       (an empty message in the same memory channel)     v
    the leader, RUNNING  <------- the device has something ------- WATCHING
              |                                                         ^
              +---------------------------------------------------------+
                 nothing to serve

    a handler whose request had blocked:  BLOCKED -> RUNNING -> PARKED, or it ends

The rooms, in the order of that way; each imports from those below it only:

==================  ==================================================================
``startup/``        what comes before the first request: arguments, INIT, the root
``control/``        what ends a request early: INTERRUPT and signals, deadlines
``scheduling/``     receives, decides who serves, and serves
``answering/``      decodes, calls the filesystem, encodes, sends, undoes what is refused
``notifications/``  what the kernel is told unasked
``in_flight/``      where each request is that was read and is not answered
==================  ==================================================================

``inspection/`` looks at all of them.
"""
