"""Clients that are killed: a program that forks them, for it has nothing to start up.

``python -S crowd.py kill ROOT SEED COUNT`` kills COUNT clients, one after the other,
each at a random instant of a random operation, and prints how long they took to go.
``asleep`` kills each where it waits for an answer.
``python -S crowd.py work ROOT SEED CLIENTS SECONDS`` has many at work at a time, which
get signals and are killed and replaced.  Both print one line of JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_NAMES = 6
_Operation = Callable[[random.Random, str, str], object]


def _read(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, chance.randrange(1, 70_000))
    os.close(fd)


def _write(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(chance.randrange(1, 70_000)), chance.randrange(10_000))
    os.fsync(fd)
    os.close(fd)


def _list(chance: random.Random, path: str, other: str) -> None:
    for name in os.listdir(os.path.dirname(path)):
        os.lstat(os.path.join(os.path.dirname(path), name))


def _peek(chance: random.Random, path: str, other: str) -> None:
    with os.scandir(os.path.dirname(path)) as entries:
        next(entries, None)


def _lock(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, chance.randrange(3) * 50)
    fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)


def _flock(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.close(fd)


def _nameless(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"x" * 5000)
    os.close(fd)


def _truncate(chance: random.Random, path: str, other: str) -> None:
    os.truncate(path, chance.randrange(50_000))


def _allocate(chance: random.Random, path: str, other: str) -> None:
    fd = os.open(path, os.O_RDWR)
    os.posix_fallocate(fd, 0, 20_000)
    os.lseek(fd, 0, os.SEEK_HOLE)
    os.close(fd)


def _copy(chance: random.Random, path: str, other: str) -> None:
    source, target = os.open(path, os.O_RDONLY), os.open(other, os.O_RDWR)
    os.copy_file_range(source, target, 30_000, 0, 0)
    os.close(source)
    os.close(target)


#: What a client does; each fails often, for the others are at the same names.
OPERATIONS: dict[str, _Operation] = {
    "read": _read,
    "write": _write,
    "list": _list,
    "peek": _peek,
    "lock": _lock,
    "flock": _flock,
    "nameless": _nameless,
    "truncate": _truncate,
    "allocate": _allocate,
    "copy": _copy,
    "stat": lambda chance, path, other: os.stat(path),
    "statfs": lambda chance, path, other: os.statvfs(path),
    "mkdir": lambda chance, path, other: os.mkdir(path),
    "rmdir": lambda chance, path, other: os.rmdir(path),
    "mkfifo": lambda chance, path, other: os.mkfifo(path),
    "unlink": lambda chance, path, other: os.unlink(path),
    "rename": lambda chance, path, other: os.rename(path, other),
    "link": lambda chance, path, other: os.link(path, other),
    "symlink": lambda chance, path, other: os.symlink("target", path),
    "readlink": lambda chance, path, other: os.readlink(path),
    "chmod": lambda chance, path, other: os.chmod(path, 0o600),
    "utime": lambda chance, path, other: os.utime(path),
    "setxattr": lambda chance, path, other: os.setxattr(path, "user.x", b"value"),
    "getxattr": lambda chance, path, other: os.getxattr(path, "user.x"),
    "listxattr": lambda chance, path, other: os.listxattr(path),
    "removexattr": lambda chance, path, other: os.removexattr(path, "user.x"),
}

#: What may open a pipe would wait there for ever, and for nothing of the mount's.
_OPENS = {"read", "write", "lock", "flock", "allocate", "copy", "truncate"}


def _path(chance: random.Random, root: str, kind: str) -> str:
    prefix = "f" if kind in _OPENS else chance.choice("ffe")
    folder = chance.choice(["", "d0/", "d1/"])
    return f"{root}/{folder}{prefix}{chance.randrange(_NAMES)}"


def _act(chance: random.Random, root: str, kind: str) -> None:
    """Do something once, whatever comes of it."""
    if kind in {"mkfifo", "symlink", "mkdir"}:
        path = f"{root}/e{chance.randrange(_NAMES)}"  # never opened, see above
        other = path
    elif kind in {"rename", "link"}:
        prefix = chance.choice("fe")
        path, other = (f"{root}/{prefix}{chance.randrange(_NAMES)}" for _ in range(2))
    else:
        path, other = _path(chance, root, kind), _path(chance, root, "read")
    with suppress(OSError):
        OPERATIONS[kind](chance, path, other)


def _client(root: str, seed: int, kinds: list[str]) -> int:
    """Fork a client that acts until it is killed; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        chance = random.Random(seed)
        while True:
            _act(chance, root, chance.choice(kinds))
            _close_all()
    finally:
        os._exit(1)


def _close_all() -> None:
    """Close what an operation that has failed has left open."""
    os.closerange(3, 20)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _kill(pid: int) -> tuple[float, float]:
    """Kill a client; return the seconds until it had gone, and those in D state."""
    began = time.monotonic()
    stuck = 0.0
    stuck_since: float | None = None
    os.kill(pid, signal.SIGKILL)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        now = time.monotonic()
        if _state(pid) == "D":
            stuck_since = stuck_since or now
            stuck = max(stuck, now - stuck_since)
        else:
            stuck_since = None
        if now - began > 20:
            sys.exit(f"{pid} cannot be killed")
        time.sleep(0.0005)
    return time.monotonic() - began, stuck


def _fill(root: str) -> None:
    for folder in ("d0", "d1"):
        while not os.path.isdir(f"{root}/{folder}"):  # the filesystem fails at random
            with suppress(OSError):
                os.mkdir(f"{root}/{folder}")
        for number in range(_NAMES):
            with suppress(OSError):
                os.close(os.open(f"{root}/{folder}/f{number}", os.O_CREAT))


def kill_many(root: str, seed: int, count: int) -> dict[str, object]:
    """Kill clients one after the other, each in an operation of its own."""
    chance = random.Random(seed)
    _fill(root)
    kinds = list(OPERATIONS)
    gone, stuck = [], []
    for number in range(count):
        pid = _client(root, seed + number, [kinds[number % len(kinds)]])
        time.sleep(chance.uniform(0, 0.002))
        seconds, in_d = _kill(pid)
        gone.append(seconds)
        stuck.append(in_d)
    gone.sort()
    return {
        "seed": seed,
        "killed": count,
        "median": gone[count // 2],
        "p95": gone[int(count * 0.95)],
        "worst": gone[-1],
        "worst_in_d_state": max(stuck),
    }


def kill_asleep(root: str, seed: int, count: int) -> dict[str, object]:
    """Kill clients that wait for an answer to a stat(2), one after the other."""
    gone, stuck = [], []
    for number in range(count):
        pid = _client(root, seed + number, ["stat"])
        while not _waits(pid):
            time.sleep(0.001)
        time.sleep(0.02)  # its handler has begun
        seconds, in_d = _kill(pid)
        gone.append(seconds)
        stuck.append(in_d)
    gone.sort()
    stuck.sort()
    return {
        "killed": count,
        "median": gone[count // 2],
        "p95": gone[int(count * 0.95)],
        "worst": gone[-1],
        "median_in_d_state": stuck[count // 2],
    }


def _waits(pid: int) -> bool:
    with open(f"/proc/{pid}/wchan") as wchan:
        return wchan.read().startswith(("request_wait_answer", "fuse"))


def work(root: str, seed: int, clients: int, seconds: float) -> dict[str, object]:
    """Have clients at work; signal them, kill and replace them."""
    chance = random.Random(seed)
    _fill(root)
    kinds = list(OPERATIONS)
    pids = [_client(root, seed + number, kinds) for number in range(clients)]
    deadline = time.monotonic() + seconds
    signals, gone = 0, []
    while time.monotonic() < deadline:
        time.sleep(chance.uniform(0, 0.02))
        place = chance.randrange(clients)
        if chance.random() < 0.7:
            os.kill(pids[place], signal.SIGUSR1)
            signals += 1
        else:
            gone.append(_kill(pids[place])[0])
            pids[place] = _client(root, seed + clients + len(gone), kinds)
    last = [_kill(pid)[0] for pid in pids]
    gone = sorted(gone + last)
    return {
        "seed": seed,
        "signals": signals,
        "killed": len(gone),
        "median": gone[len(gone) // 2],
        "p95": gone[int(len(gone) * 0.95)],
        "worst": gone[-1],
    }


def main() -> None:
    """Do as the command line says."""
    how, root, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if how == "kill":
        report = kill_many(root, seed, int(count))
    elif how == "asleep":
        report = kill_asleep(root, seed, int(count))
    else:
        report = work(root, seed, int(count), float(sys.argv[5]))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
