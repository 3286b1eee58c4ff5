"""A journal in a bucket: what is written is there before it counts, on any machine, once."""

import asyncio
import shutil

import pytest

from soda.endpoint.answer import Received
from soda.endpoint.journal import Journal
from soda.endpoint.upload import Upload, open_journal
from soda.errors import StorageError
from soda.storage import Place
from tests.fakes.objects import BUCKET

KEYS = [f"{number:02x}" * 32 for number in range(6)]


@pytest.fixture(params=["gs", "s3"])
def bucket(request, cloud, tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))
    return f"{request.param}://{BUCKET}/{tmp_path.name}-{request.param}"


def upload(bucket, folder):
    made = Upload(Place.of(bucket).open(), folder, lambda: None)
    made.fetch()
    return made


async def write(journal, keys):
    async with journal.writing():
        for key in keys:
            await journal.received(key, Received(200, key))


def names(bucket):
    return [entry.name for entry in Place.of(bucket).open().list()]


def test_what_is_received_is_in_the_bucket_when_it_counts(bucket, tmp_path):
    made = upload(bucket, tmp_path / "one")

    async def run():
        with Journal(tmp_path / "one", uploading=made.running) as journal:
            async with journal.writing():
                await journal.received(KEYS[0], Received(200, "kept"))
                [name] = names(bucket)
                assert b'"kept"' in Place.of(bucket).open().read(name)[0]

    asyncio.run(run())


def test_another_machine_reads_it_and_parts_become_one_object(bucket, tmp_path):
    with Journal(tmp_path / "one", uploading=upload(bucket, tmp_path / "one").running) as journal:
        asyncio.run(write(journal, KEYS[:4]))
    assert len(names(bucket)) == 1
    upload(bucket, tmp_path / "two")
    with Journal(tmp_path / "two") as journal:
        assert [journal.get(key).body for key in KEYS[:4]] == KEYS[:4]


def test_what_a_killed_process_left_on_its_machine_goes_up_with_the_next(bucket, tmp_path):
    folder = tmp_path / "one"
    upload(bucket, folder)
    with Journal(folder) as journal:  # nothing takes it to the bucket: it was killed before
        asyncio.run(write(journal, KEYS[:3]))
    upload(bucket, folder)
    shutil.rmtree(folder)
    upload(bucket, folder)
    with Journal(folder) as journal:
        assert [journal.get(key).body for key in KEYS[:3]] == KEYS[:3]


@pytest.mark.parametrize("error", [StorageError("the lease is gone"), OSError("a bad disk")])
def test_a_writer_that_cannot_go_on_stops_and_says_so(bucket, tmp_path, error):
    def gone():
        raise error

    made = Upload(Place.of(bucket).open(), tmp_path / "one", gone)
    made.fetch()
    with (
        Journal(tmp_path / "one", uploading=made.running) as journal,
        pytest.raises(type(error), match=str(error)),
    ):
        asyncio.run(asyncio.wait_for(write(journal, KEYS[:1]), 60))
    assert not names(bucket)


def test_a_journal_is_opened_by_one_writer_of_a_share(tmp_path):
    with open_journal(Place.of(tmp_path), "judge/big-1", "all") as journal:
        asyncio.run(write(journal, KEYS[:1]))
        assert journal.folder == tmp_path / "journal" / "judge" / "big-1"
        with (
            pytest.raises(StorageError, match="another run is at work on this"),
            open_journal(Place.of(tmp_path), "judge/big-1", "all"),
        ):
            pass
        with open_journal(Place.of(tmp_path), "judge/big-1", "other") as other:
            assert KEYS[0] in other
