"""A 2 GB model folder up and down through gs:// and s3://, beside each vendor's own transfer.

    python -m bench.storage [--megabytes 2000]

The servers are fake-gcs-server and moto on this machine: the figures say what the client costs, not
what a cloud gives.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import Taken, in_child, table
from soda import storage
from tests.fakes.objects import BUCKET, fake_gcs, fake_s3

__all__ = ["make_model"]


def make_model(folder: Path, megabytes: int) -> dict[str, dict[str, Any]]:
    """Make a folder of two weight files and a few small ones; return sizes and checksums."""
    folder.mkdir()
    for number in range(2):
        with (folder / f"model-{number}.safetensors").open("wb") as file:
            for _ in range(megabytes // 2):
                file.write(os.urandom(1_000_000))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes(os.urandom(50_000))
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": storage.file_digest(path)}
        for path in folder.iterdir()
    }


def _vendor_gs(folder: Path, back: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    from google.cloud import storage as gcs

    def up() -> None:
        bucket = gcs.Client(project=None).bucket(BUCKET)
        for path in folder.iterdir():
            bucket.blob(f"vendor/{path.name}").upload_from_filename(str(path))

    def down() -> None:
        bucket = gcs.Client(project=None).bucket(BUCKET)
        for path in folder.iterdir():
            bucket.blob(f"vendor/{path.name}").download_to_filename(str(back / path.name))

    return up, down


def _vendor_s3(folder: Path, back: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    import boto3

    def up() -> None:
        client = boto3.client("s3")
        for path in folder.iterdir():
            client.upload_file(str(path), BUCKET, f"vendor/{path.name}")

    def down() -> None:
        client = boto3.client("s3")
        for path in folder.iterdir():
            client.download_file(BUCKET, f"vendor/{path.name}", str(back / path.name))

    return up, down


def _timed(work: Callable[[], None]) -> Taken:
    def run() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return in_child(run)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    megabytes = parser.parse_args().megabytes
    os.environ.update(
        AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1"
    )
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, back = root / "model", root / "back"
        files = make_model(folder, megabytes)
        for scheme, server, variable, vendor in (
            ("gs", fake_gcs, "STORAGE_EMULATOR_HOST", _vendor_gs),
            ("s3", fake_s3, "AWS_ENDPOINT_URL", _vendor_s3),
        ):
            with server() as url:
                os.environ[variable] = url

                def ours_up(scheme: str = scheme) -> None:
                    store = storage.Place.of(f"{scheme}://{BUCKET}").open()
                    storage.upload_tree(folder, store, "ours", label="up")

                def ours_down(scheme: str = scheme) -> None:
                    store = storage.Place.of(f"{scheme}://{BUCKET}").open()
                    storage.download_tree(store, "ours", files, back, label="down")

                steps = [("ours", ours_up, ours_down), ("vendor", *vendor(folder, back))]
                for who, up, down in steps:
                    shutil.rmtree(back, ignore_errors=True)
                    back.mkdir()
                    sent, got = _timed(up), _timed(down)
                    equal = all(
                        storage.file_digest(back / name) == facts["sha256"]
                        for name, facts in files.items()
                    )
                    rows.append(
                        [f"{scheme}, {who}", equal]
                        + [
                            f"{taken.result:.1f} s, {taken.cpu_seconds:.1f} s, {taken.peak_mib:.0f}"
                            for taken in (sent, got)
                        ]
                    )
    head = [f"{megabytes} MB", "equal", "up: wall, CPU, peak MiB", "down: wall, CPU, peak MiB"]
    table(head, rows)


if __name__ == "__main__":
    main()
