"""Serve a filesystem to the Linux kernel from a trio program.

Subclass `Filesystem`, then ``async with triofuse.mount(MyFS(), "/mnt/x")``.
"""

from triofuse.backend.blocking import blocking
from triofuse.backend.blocks import BlockCache, BlockReader, open_block_cache
from triofuse.backend.threads import Threads
from triofuse.device.backing import BackingId
from triofuse.device.channel import Channel, ChannelSender
from triofuse.device.dev_fuse import DevFuse, DeviceError
from triofuse.device.mount import Mount
from triofuse.device.mount_error import MountError
from triofuse.device.mount_sync import mount_sync
from triofuse.device.options import MountOptions
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import CapabilityError, FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import (
    AttrFlags,
    FallocateMode,
    FsyncFlags,
    GetattrFlags,
    InitFlags,
    IoctlFlags,
    LockFlags,
    LockType,
    OpenFlags,
    OpenInFlags,
    PollFlags,
    ReadFlags,
    ReleaseFlags,
    RenameFlags,
    SetattrValid,
    SetxattrFlags,
    SetxattrInFlags,
    StatxAttributes,
    StatxMask,
    WriteFlags,
)
from triofuse.filesystem.layer import Layer, ReadOnly
from triofuse.filesystem.notifier import BlockingNotifier, Notifier
from triofuse.filesystem.replies import (
    Buffer,
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.filesystem.requests import (
    Access,
    Bmap,
    CopyFileRange,
    Create,
    Fallocate,
    Flush,
    Forget,
    Fsync,
    Fsyncdir,
    Getattr,
    Getlk,
    Getxattr,
    Ioctl,
    Link,
    Listxattr,
    Lookup,
    Lseek,
    Mkdir,
    Mknod,
    Open,
    Opendir,
    Poll,
    Read,
    Readdir,
    Readdirplus,
    Readlink,
    Release,
    Releasedir,
    Removexattr,
    Rename,
    Request,
    Rmdir,
    Setattr,
    Setlk,
    Setlkw,
    Setxattr,
    StatfsRequest,
    Statx,
    Symlink,
    Syncfs,
    Tmpfile,
    Unlink,
    Write,
)
from triofuse.paths.filesystem import PathFilesystem
from triofuse.paths.operations import OpenFile, PathOperations
from triofuse.posix.locks import LockTable
from triofuse.posix.readiness import Readiness
from triofuse.running.main import main
from triofuse.running.mounting import mount, serve
from triofuse.running.run import run
from triofuse.session.answering.statistics import OperationStatistics, SessionStatistics
from triofuse.session.in_flight.current import CurrentRequest, current_request
from triofuse.session.inspection.report import InFlight
from triofuse.session.session import Session
from triofuse.tree.directory import Child, Directory
from triofuse.tree.file import File
from triofuse.tree.folder import AskedDirectory, FolderNode
from triofuse.tree.generated import DiskFile, Generated
from triofuse.tree.node import Node, Special, SymbolicLink
from triofuse.tree.stat import Stat
from triofuse.tree.tree import Tree
from triofuse.wire.errors import HandshakeError, ProtocolError
from triofuse.wire.handshake import Agreement

__all__ = [
    "Access",
    "Agreement",
    "AskedDirectory",
    "AttrFlags",
    "BackingId",
    "BlockCache",
    "BlockReader",
    "BlockingNotifier",
    "Bmap",
    "Buffer",
    "CapabilityError",
    "Channel",
    "ChannelSender",
    "Child",
    "CopyFileRange",
    "Create",
    "CurrentRequest",
    "DevFuse",
    "DeviceError",
    "DirEntry",
    "Directory",
    "DiskFile",
    "Entry",
    "Fallocate",
    "FallocateMode",
    "File",
    "FileAttr",
    "FileData",
    "FileLock",
    "Filesystem",
    "Flush",
    "FolderNode",
    "Forget",
    "Fsync",
    "FsyncFlags",
    "Fsyncdir",
    "FuseError",
    "Generated",
    "Getattr",
    "GetattrFlags",
    "Getlk",
    "Getxattr",
    "HandshakeError",
    "InFlight",
    "InitFlags",
    "Ioctl",
    "IoctlFlags",
    "IoctlReply",
    "KernelConfig",
    "Layer",
    "Link",
    "Listxattr",
    "LockFlags",
    "LockTable",
    "LockType",
    "Lookup",
    "Lseek",
    "Mkdir",
    "Mknod",
    "Mount",
    "MountError",
    "MountOptions",
    "Node",
    "Notifier",
    "Open",
    "OpenFile",
    "OpenFlags",
    "OpenInFlags",
    "Opendir",
    "Opened",
    "OperationStatistics",
    "PathFilesystem",
    "PathOperations",
    "Poll",
    "PollFlags",
    "ProtocolError",
    "Read",
    "ReadFlags",
    "ReadOnly",
    "Readdir",
    "Readdirplus",
    "Readiness",
    "Readlink",
    "Release",
    "ReleaseFlags",
    "Releasedir",
    "Removexattr",
    "Rename",
    "RenameFlags",
    "Request",
    "Rmdir",
    "Session",
    "SessionStatistics",
    "Setattr",
    "SetattrValid",
    "Setlk",
    "Setlkw",
    "Setxattr",
    "SetxattrFlags",
    "SetxattrInFlags",
    "Special",
    "Stat",
    "Statfs",
    "StatfsRequest",
    "Statx",
    "StatxAttributes",
    "StatxMask",
    "SymbolicLink",
    "Symlink",
    "Syncfs",
    "Threads",
    "Tmpfile",
    "Tree",
    "Unlink",
    "Write",
    "WriteFlags",
    "blocking",
    "current_request",
    "main",
    "mount",
    "mount_sync",
    "open_block_cache",
    "run",
    "serve",
]
