"""What begins and ends with the mount of a filesystem."""

from __future__ import annotations

from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.notifier import Notifier

__all__ = ["Lifetime"]


class Lifetime:
    """The methods of a `Filesystem` for its whole life, and its notifier."""

    @property
    def notifier(self) -> Notifier:
        """The `Notifier`, which tells the kernel of changes; available from ``init`` on.

        If a filesystem is mounted several times, it is the latest session's.

        Raises:
          RuntimeError: No session serves this filesystem yet.
        """
        try:
            notifier: Notifier = self.__dict__["notifier"]
        except KeyError:
            message = f"{type(self).__name__} has no notifier before init() is called"
            raise RuntimeError(message) from None
        return notifier

    @notifier.setter
    def notifier(self, notifier: Notifier) -> None:
        self.__dict__["notifier"] = notifier

    async def init(self, config: KernelConfig) -> None:
        """Prepare to serve; called once, before any other method.

        Args:
          config: The kernel's offer; change it to negotiate.

        Source: ``process_init_reply()`` in fs/fuse/inode.c.
        """

    async def run(self) -> None:
        """Run beside the requests, for as long as the mount lives.

        For a filesystem's own tasks: open a nursery here, watch something, send
        notifications.  It starts when the mount can be used, before `triofuse.mount`
        hands it out, and is cancelled when the mount has ended, before ``destroy``.
        It may return earlier.  An exception ends the session and is raised from
        there; ``trio.EndOfChannel`` of the notifier after an unmount is none.
        """

    async def destroy(self) -> None:
        """Release everything; called once, after all other methods have ended.

        The kernel sends no FORGET at unmount: drop all lookup counts here.  This is
        cancelled after 10 seconds.
        """
