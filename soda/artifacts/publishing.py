"""Finished artifacts in object storage: the manifest, created once and last, makes one of files.

    <location>/manifest.json
    <location>/<sha256 of the manifest, 16 digits>/...   the folder as it was, manifest included

Two writers with different results have different folders, so nothing of them is ever mixed; the
one whose manifest comes first has won.
"""

import hashlib

from soda import storage
from soda.artifacts.manifest import MANIFEST, Manifest
from soda.artifacts.writer import LOGS
from soda.errors import MissingObject, StorageError
from soda.storage import Place

__all__ = ["get", "put"]


def _version(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:16]


def put(place: Place, *, replace: bool = False) -> bool:
    """Put a finished folder up; False if another one was there first, and has stayed.

    Args:
        place: a place in object storage, with the finished artifact in its folder.
        replace: overwrite one that is there.
    """
    store = place.open()
    manifest = (place.folder / MANIFEST).read_bytes()
    version = _version(manifest)
    storage.upload_tree(place.folder, store, version, label=f"to {place}")
    if replace:
        store.write(MANIFEST, manifest)
    elif store.create(MANIFEST, manifest) is None:
        winner, _ = store.read(MANIFEST)
        if _version(winner) != version:
            _remove(store, f"{version}/")
            return False
    return True


def get(place: Place) -> bool:
    """Bring a finished artifact to the place's folder, checksums compared; False: there is none.

    Raises:
        ArtifactError: what is there is damaged.
    """
    store, folder = place.open(), place.folder
    try:
        manifest, _ = store.read(MANIFEST)
    except MissingObject:
        return False
    if (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == manifest:
        return True
    version = _version(manifest)
    files = Manifest.read(manifest, f"{place}/{MANIFEST}").files
    unfinished = folder.with_name(f".{folder.name}.{version}")
    with storage.lock(unfinished.with_suffix(".lock")):
        storage.remove_tree(unfinished)
        try:
            storage.download_tree(store, version, files, unfinished, label=f"from {place}")
            storage.write_atomically(unfinished / MANIFEST, manifest)
            for entry in store.list(f"{version}/{LOGS}/"):  # they have no checksum
                name = storage.checked(entry.name.removeprefix(f"{version}/"))
                store.download(entry.name, unfinished / name, lambda count: None)
        except StorageError:
            storage.remove_tree(unfinished)
            raise
        storage.make_read_only(unfinished)
        storage.remove_tree(folder)
        storage.move_tree(unfinished, folder)
    return True


def _remove(store: storage.Store, prefix: str) -> None:
    for entry in list(store.list(prefix)):
        store.delete(entry.name)
