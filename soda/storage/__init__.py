"""The one door to disks and object stores: every file we write goes through here."""

from soda.storage.files import (
    explain_os_errors,
    file_digest,
    link_tree,
    lock,
    make_read_only,
    publish,
    remove_tree,
    write_atomically,
)
from soda.storage.lease import Lease, hold
from soda.storage.place import BUCKETS, Location, Place
from soda.storage.store import Entry, Store, Version
from soda.storage.transfer import download_tree, upload_tree

__all__ = [
    "BUCKETS",
    "Entry",
    "Lease",
    "Location",
    "Place",
    "Store",
    "Version",
    "download_tree",
    "explain_os_errors",
    "file_digest",
    "hold",
    "link_tree",
    "lock",
    "make_read_only",
    "publish",
    "remove_tree",
    "upload_tree",
    "write_atomically",
]
