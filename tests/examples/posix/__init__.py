"""Named behaviours that POSIX and Linux promise of any local filesystem.

Each is a function that takes an empty directory and asserts.  They were found by
pjdfstest, by people's bug reports, and by reading the standard.
"""

from tests.examples.posix import files, names, users
from tests.examples.posix.tools import NOBODY, Behaviour, as_user, fails

__all__ = ["BEHAVIOURS", "NOBODY", "ROOT_BEHAVIOURS", "Behaviour", "as_user", "fails"]

#: For any user.
BEHAVIOURS = names.BEHAVIOURS + files.BEHAVIOURS

#: For root, who can be others and make devices.
ROOT_BEHAVIOURS = users.BEHAVIOURS
