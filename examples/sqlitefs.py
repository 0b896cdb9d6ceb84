"""Files in a database: ``sqlitefs.py DATABASE MOUNTPOINT``.

It has all that POSIX wants of files: directories, links of both kinds, devices, files
with holes, and open files that have lost their names.  The database has a table of
inodes, one of names, and one of blocks.  The number of a row is the key of a node, so
two objects of the same row are the same file.  All of it is there at the next mount.

The database answers within microseconds, so it is asked without threads.  Extended
attributes are left out, and rename(2) that exchanges two names.
"""

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any, cast

import attrs

import triofuse
from triofuse import AskedDirectory, File, FolderNode, Node, Special, Stat

BLOCK = 1 << 16
#: The columns of an inode, beside its number and the target of a link.
KEPT = [field.name for field in attrs.fields(Stat)]
TABLES = f"""
    pragma journal_mode = wal;
    pragma synchronous = normal;
    create table if not exists inode (id integer primary key, target, {",".join(KEPT)});
    create table if not exists name (parent, name, id, primary key (parent, name));
    create table if not exists block (id, number, data, primary key (id, number));
    delete from inode where nlink = 0;
    delete from block where id not in (select id from inode);
"""
ADD = f"insert into inode (target, {','.join(KEPT)}) values (?{',?' * len(KEPT)})"
FIND = f"select name, id, target, {','.join(KEPT)} from inode left join name using (id)"
IS_NAME = "parent = ? and name = ?"


class Row:
    """A node's row in the table of inodes."""

    db: sqlite3.Connection
    id: int

    async def save(self, changes: Stat) -> None:
        for name, value in attrs.asdict(changes).items():
            if value is not None:
                query = f"update inode set {name} = ? where id = ?"
                self.db.execute(query, (value, self.id))

    async def drop(self) -> None:
        self.db.execute("delete from inode where id = ?", (self.id,))
        self.db.execute("delete from block where id = ?", (self.id,))


class Link(Row, triofuse.SymbolicLink):
    """A symbolic link."""


class Device(Row, Special):
    """A device, pipe or socket."""


class Folder(Row, AskedDirectory):
    """A directory: rows of the table of names."""

    def find(self, more: str, *values: object) -> list[tuple[str, Node]]:
        rows = self.db.execute(f"{FIND} where {more}", values)
        return [
            (os.fsdecode(name or ""), node_of(self.db, *row)) for name, *row in rows
        ]

    async def lookup(self, name: str) -> Node | None:
        return dict(self.find(IS_NAME, self.id, os.fsencode(name))).get(name)

    def entries(self) -> list[tuple[str, Node]]:
        return self.find("parent = ?", self.id)

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        nlink = 2 if stat.S_ISDIR(new.mode or 0) else 1 if name else 0
        node = add(self.db, attrs.evolve(new, nlink=nlink), target)
        if name:
            await self.link(name, node)
        return node

    async def link(self, name: str, node: Node) -> None:
        values = (self.id, os.fsencode(name), cast(Row, node).id)
        self.db.execute("insert into name values (?, ?, ?)", values)

    async def unlink(self, name: str, node: Node) -> None:
        query = f"delete from name where {IS_NAME}"
        self.db.execute(query, (self.id, os.fsencode(name)))

    async def rename(
        self,
        name: str,
        node: Node,
        to: FolderNode,
        new_name: str,
        replaced: Node | None,
    ) -> None:
        query = f"update or replace name set parent = ?, name = ? where {IS_NAME}"
        new = (cast(Folder, to).id, os.fsencode(new_name))
        self.db.execute(query, (*new, self.id, os.fsencode(name)))


class Data(Row, File):
    """A file: rows of the table of blocks, where a hole has none."""

    async def read(self, size: int, offset: int) -> bytes:
        first, start = divmod(offset, BLOCK)
        end = min(offset + size, self.stat.size or 0)
        numbers = range(first, -(-end // BLOCK))
        data = b"".join(self.block(number).ljust(BLOCK, b"\0") for number in numbers)
        return data[start : start + end - offset]

    async def write(self, data: memoryview, offset: int) -> int:
        number, start = divmod(offset, BLOCK)
        block, piece = self.block(number), data[: BLOCK - start]
        rest = block[start + len(piece) :]
        self.put(number, block[:start].ljust(start, b"\0") + piece + rest)
        if len(piece) < len(data):
            await self.write(data[len(piece) :], offset + len(piece))
        return len(data)

    async def truncate(self, size: int) -> None:
        number, rest = divmod(size, BLOCK)
        beyond = "delete from block where id = ? and number > ?"
        self.db.execute(beyond, (self.id, number))
        self.put(number, self.block(number)[:rest])

    def block(self, number: int) -> bytes:
        query = "select data from block where id = ? and number = ?"
        return b"".join(row[0] for row in self.db.execute(query, (self.id, number)))

    def put(self, number: int, data: bytes) -> None:
        values = (self.id, number, data)
        self.db.execute("insert or replace into block values (?, ?, ?)", values)


def node_of(db: sqlite3.Connection, number: int, target: str, *values: Any) -> Node:
    """Return the node of a row."""
    new = Stat(**dict(zip(KEPT, values, strict=True)))
    kinds = {stat.S_IFDIR: Folder, stat.S_IFREG: Data, stat.S_IFLNK: Link}
    kind: Any = kinds.get(stat.S_IFMT(values[0]), Device)
    own = {Link: (target,), Device: (values[0],)}.get(kind, ())
    node: Any = kind(*own, key=number, stat=new)
    node.db, node.id = db, number
    return cast(Node, node)


def add(db: sqlite3.Connection, new: Stat, target: str | None = None) -> Node:
    """Add an inode."""
    values = attrs.astuple(new)
    number = db.execute(ADD, (target, *values)).lastrowid
    return node_of(db, cast(int, number), target or "", *values)


def root_of(db: sqlite3.Connection) -> Node:
    """Return the root, which is the first inode."""
    db.executescript(TABLES)
    for _, *row in db.execute(f"{FIND} where id = 1"):
        return node_of(db, *row)
    return add(db, Stat(mode=0o40755, uid=os.getuid(), gid=os.getgid(), nlink=2))


def make(database: Path) -> triofuse.Tree:
    """Keep files in a database, which is made if there is none."""
    return triofuse.Tree(root_of(sqlite3.connect(database, isolation_level=None)))


if __name__ == "__main__":
    triofuse.main(make)
