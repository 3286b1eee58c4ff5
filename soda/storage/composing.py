"""Large files into GCS: parts as objects of their own, joined by the server into one.

The parts go at the same time and each in a single request, so that an outage costs one part.
A resumable upload goes in one stream; the XML API's multipart upload would leave nothing behind
when the machine dies, but fake-gcs-server does not know it, and what no test runs we do not ship.
The price: for a moment, and as long as the bucket keeps deleted objects, all is there twice.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from soda.errors import StorageError
from soda.storage import parts
from soda.storage.store import Store, temporary

__all__ = ["upload_composed"]

_COMPOSABLE = 32  # objects that one request may join


def upload_composed(
    store: Store,
    path: Path,
    name: str,
    compose: Callable[[Sequence[str], str], None],
    on_bytes: Callable[[int], None],
) -> None:
    """Write a file as one object.

    Args:
        compose: joins objects, given by name, into one more.
    """
    folder = temporary(name)  # listings leave out what lies in it
    made: list[str] = []

    def send(part: str, start: int, length: int) -> None:
        store.write(part, parts.read_part(path, start, length))
        on_bytes(length)

    try:
        ranges = parts.split(path.stat().st_size)
        names = made = [f"{folder}/0-{number:06}" for number in range(len(ranges))]
        tasks = [
            functools.partial(send, part, *place) for part, place in zip(names, ranges, strict=True)
        ]
        parts.in_parallel(tasks, parts.WORKERS)
        level = 1
        while len(names) > _COMPOSABLE:
            groups = [names[at : at + _COMPOSABLE] for at in range(0, len(names), _COMPOSABLE)]
            names = [f"{folder}/{level}-{number:06}" for number in range(len(groups))]
            made = made + names
            joins = [
                functools.partial(compose, group, joined)
                for group, joined in zip(groups, names, strict=True)
            ]
            parts.in_parallel(joins, parts.WORKERS)
            level += 1
        compose(names, name)
    finally:
        with contextlib.suppress(StorageError):  # what stays is hidden and harms nobody
            deletions = [functools.partial(store.delete, part) for part in made]
            parts.in_parallel(deletions, parts.WORKERS)
