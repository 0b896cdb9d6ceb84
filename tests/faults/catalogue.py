"""All faults, in the order of TABLE.md."""

from __future__ import annotations

from tests.faults import (
    budget,
    bugs,
    cancellation,
    clean_up,
    deadlines,
    interrupts,
    killed_clients,
    listings,
    messages,
    mount_ends,
    mounted_handlers,
    mounted_notifications,
    mounting,
    notifications,
    refusals,
)

#: What happens on the fake kernel.
FAULTS = [
    *bugs.EXCEPTIONS,
    *bugs.RANGES,
    *bugs.VALUES,
    *bugs.ERRORS,
    *bugs.ENDINGS,
    *cancellation.CANCELLATION,
    *listings.LISTINGS,
    *clean_up.CLEAN_UP,
    *interrupts.INTERRUPTS,
    *deadlines.DEADLINES,
    *refusals.REFUSALS,
    *budget.BUDGET,
    *messages.MESSAGES,
    *notifications.NOTIFICATIONS,
]

#: What takes a real mount.
MOUNTED_FAULTS = [
    *mount_ends.ENDS,
    *mounted_handlers.HANDLERS,
    *killed_clients.GONE,
    *mounted_notifications.NOTIFICATIONS,
    *mounting.MOUNTING,
]
