"""The one door to disks and object stores: every file we write goes through here."""

from soda.storage.digests import Content, file_digest, known_digest, remember_digest
from soda.storage.files import explain_os_errors, lock, make_folder, write_atomically
from soda.storage.lease import Lease, hold
from soda.storage.place import BUCKETS, Location, Place
from soda.storage.store import Entry, Store, Version, checked
from soda.storage.transfer import download_tree, upload_tree
from soda.storage.tree import (
    copy_file,
    files_in,
    link_tree,
    make_read_only,
    move_tree,
    open_file,
    private,
    remove_tree,
)

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
    "copy_file",
    "download_tree",
    "explain_os_errors",
    "file_digest",
    "files_in",
    "hold",
    "known_digest",
    "link_tree",
    "lock",
    "make_folder",
    "make_read_only",
    "move_tree",
    "open_file",
    "private",
    "remember_digest",
    "remove_tree",
    "upload_tree",
    "write_atomically",
]
