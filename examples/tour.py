"""Mount a filesystem, let ordinary programs use it, and unmount it.

Run ``python examples/tour.py``.  A trio program mounts the in-memory filesystem of
``memfs.py`` on a new directory; copies a source tree into it, compares, compiles and
deletes it there with the programs that you would use; and leaves nothing behind.
"""

import shlex
import sys
import tempfile
from pathlib import Path

import trio

import triofuse
from memfs import MemFS

SOURCE = Path(triofuse.__file__).parent
STEPS = """
df -h {mountpoint}
cp -a {source} {mountpoint}/tree
diff -r {source} {mountpoint}/tree && echo the copy is the same
{python} -m compileall -q -f {mountpoint}/tree && echo compiled
find {mountpoint} -type f | wc -l
ln -s tree/__init__.py {mountpoint}/link && head -n 3 {mountpoint}/link
rm -rf {mountpoint}/tree {mountpoint}/link && ls -la {mountpoint}
"""


async def tour(mountpoint: str) -> None:
    """Mount, and take each step in a shell: a process of its own."""
    options = triofuse.MountOptions(fsname="memfs", default_permissions=True)
    async with triofuse.mount(MemFS(), mountpoint, options):
        print(f"mounted on {mountpoint}")
        names = {"mountpoint": mountpoint, "source": SOURCE, "python": sys.executable}
        quoted = {name: shlex.quote(str(value)) for name, value in names.items()}
        for step in STEPS.strip().format(**quoted).splitlines():
            print(f"\n$ {step}", flush=True)
            # Not with cwd=: the new process would enter the mount while this one,
            # which has to answer, waits for it to start.
            await trio.run_process(step, shell=True)
    print(f"\nunmounted {mountpoint}")


def main() -> None:
    """Take the tour, or say what is missing for it."""
    with tempfile.TemporaryDirectory(prefix="triofuse-") as mountpoint:
        try:
            trio.run(tour, mountpoint)
        except triofuse.MountError as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    main()
