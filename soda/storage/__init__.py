"""The one door to disks and object stores: every file we write goes through here."""

from soda.storage.files import (
    explain_os_errors,
    file_digest,
    link_tree,
    local_path,
    lock,
    make_read_only,
    publish,
    remove_tree,
    write_atomically,
)
from soda.storage.lease import Lease, hold
from soda.storage.location import is_remote, open_store
from soda.storage.store import Entry, Store, Version
from soda.storage.transfer import download_tree, upload_tree

__all__ = [
    "Entry",
    "Lease",
    "Store",
    "Version",
    "download_tree",
    "explain_os_errors",
    "file_digest",
    "hold",
    "is_remote",
    "link_tree",
    "local_path",
    "lock",
    "make_read_only",
    "open_store",
    "publish",
    "remove_tree",
    "upload_tree",
    "write_atomically",
]
