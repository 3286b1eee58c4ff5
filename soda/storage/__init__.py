"""The one door to disks and object stores: every file we write goes through here."""

from soda.storage.files import (
    Content,
    explain_os_errors,
    file_digest,
    link_tree,
    lock,
    make_read_only,
    move_tree,
    remove_tree,
    write_atomically,
)
from soda.storage.lease import Lease, hold
from soda.storage.place import BUCKETS, Location, Place
from soda.storage.store import Entry, Store, Version, checked
from soda.storage.transfer import download_tree, upload_tree

__all__ = [
    "BUCKETS",
    "Content",
    "Entry",
    "Lease",
    "Location",
    "Place",
    "Store",
    "Version",
    "checked",
    "download_tree",
    "explain_os_errors",
    "file_digest",
    "hold",
    "link_tree",
    "lock",
    "make_read_only",
    "move_tree",
    "remove_tree",
    "upload_tree",
    "write_atomically",
]
