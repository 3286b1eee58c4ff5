"""A lease in a store: one holder, who lets go when it ends, dies or loses the store."""

import functools
import subprocess
import sys
import time

import pytest

from soda import storage
from soda.errors import StorageError
from soda.storage import Place
from tests.fakes.objects import BUCKET, faulty

CODE = """if True:
    import sys, time
    from soda import storage
    time.time = lambda: float(sys.argv[2])
    with storage.hold(storage.Place.of(sys.argv[1]).open(), "work", heartbeat=0.1):
        print("held", flush=True)
        time.sleep(60)"""


hold = functools.partial(storage.hold, heartbeat=0.1, expiry=1.5)


def test_one_holds_and_the_next_takes_it_when_it_is_free(store):
    for _ in range(2):
        begun = time.monotonic()
        with hold(store, "work") as first:
            assert time.monotonic() - begun < 1
            version = store.read("work")[1]
            with pytest.raises(StorageError, match="work: another run is at work on this; wait"):
                hold(store, "work").__enter__()
            first.check()
            assert store.read("work")[1] != version
        first.check()


@pytest.mark.parametrize("clock", [0.0, 4e9])  # fifty years behind us, and ahead
def test_a_holder_that_dies_lets_go_after_a_while_whatever_its_clock(store, place, clock):
    words = [sys.executable, "-c", CODE, place, str(clock)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="another run is at work"):
            hold(store, "work").__enter__()
        holder.kill()
    begun = time.monotonic()
    with hold(store, "work") as mine:
        assert time.monotonic() - begun > 1.4
        mine.check()


def test_a_holder_learns_that_another_took_it_and_leaves_it_alone(store):
    with hold(store, "work") as mine:
        store.write("work", b"another's")
        end = time.monotonic() + 30  # a heartbeat is enough where nothing else runs
        with pytest.raises(StorageError, match="work: expected to hold the lease, found that"):
            while time.monotonic() < end:
                mine.check()
                time.sleep(0.02)
    assert store.read("work")[0] == b"another's"


def test_a_short_outage_is_survived_and_a_long_one_is_not(cloud, s3_url, monkeypatch):
    monkeypatch.setattr("soda.storage.s3.ATTEMPTS", 1)
    with faulty(s3_url, lambda method, path: "pass") as faults:
        cloud(s3=faults.url)
        with hold(Place.of(f"s3://{BUCKET}/outage").open(), "work") as mine:
            faults.rule = lambda method, path: "lose"
            time.sleep(0.5)
            mine.check()
            faults.rule = lambda method, path: "pass"
            time.sleep(1.5)
            mine.check()
            faults.rule = lambda method, path: "refuse"
            time.sleep(1.8)
            with pytest.raises(StorageError, match="found no answer for"):
                mine.check()
