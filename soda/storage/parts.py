"""Large files in parts: several threads, and no more memory than the parts under way."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from soda.storage.store import temporary

__all__ = ["arriving", "in_parallel", "read_part", "split", "write_parts"]

PART_BYTES = 8 * 2**20  # what google-cloud-storage still sends in a single request
WORKERS = 8


def split(size: int) -> list[tuple[int, int]]:
    """Cut a size into parts: start and length of each."""
    return [(start, min(PART_BYTES, size - start)) for start in range(0, size, PART_BYTES)]


def in_parallel(tasks: Sequence[Callable[[], None]], workers: int) -> None:
    """Run tasks in threads; after the first error the waiting ones are not begun."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
        for future in done:
            future.result()


def read_part(path: Path, start: int, length: int) -> bytes:
    """Return one part of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


@contextlib.contextmanager
def arriving(path: Path) -> Iterator[Path]:
    """Give a temporary name to fill; at the end of the block it gets its own, or goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    near = path.with_name(temporary(path.name))
    try:
        yield near
        with near.open("rb") as file:
            os.fsync(file.fileno())
        near.replace(path)
    finally:
        near.unlink(missing_ok=True)


def write_parts(
    path: Path, size: int, read: Callable[[int, int], bytes], on_bytes: Callable[[int], None]
) -> None:
    """Fill a file from parts that are read at the same time.

    Args:
        read: from start and length to the bytes.
    """
    with path.open("wb") as file:
        file.truncate(size)

        def fetch(start: int, length: int) -> None:
            data = read(start, length)
            os.pwrite(file.fileno(), data, start)
            on_bytes(len(data))

        tasks = [functools.partial(fetch, *part) for part in split(size)]
        in_parallel(tasks, WORKERS)
