"""A fake kernel, for tests of a filesystem without mount and without root.

``async with open_kernel(MyFS()) as kernel: await kernel.path("/x").read_bytes()``.
"""

from triofuse.testing.connection import Refusal
from triofuse.testing.kernel import FakeKernel, open_kernel
from triofuse.testing.messages import Caller, Creator
from triofuse.testing.negotiation import LINUX_6_18, Negotiated, Offer
from triofuse.testing.notifications import Notification
from triofuse.testing.paths import KernelPath

#: The name of `Negotiated` until 0.2.
Terms = Negotiated

__all__ = [
    "LINUX_6_18",
    "Caller",
    "Creator",
    "FakeKernel",
    "KernelPath",
    "Negotiated",
    "Notification",
    "Offer",
    "Refusal",
    "Terms",
    "open_kernel",
]
