"""The journal keeps every response that was written, whatever happened to the process."""

import asyncio
import json
import subprocess
import sys

import pytest

from soda.endpoint.answer import Received
from soda.endpoint.journal import Journal
from soda.errors import StorageError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / "folder"


def write(folder, *events):
    """Open a journal, write answers and other events, and close it."""

    async def run():
        with Journal(folder) as journal:
            async with journal.writing():
                for event, *values in events:
                    await getattr(journal, event)(*values)
            return journal.tail

    return asyncio.run(run())


def got(body, status=200):
    return Received(status, body, 0.5)


def read(folder, *keys):
    with Journal(folder) as journal:
        return {key[0]: found and found.body for key in keys for found in [journal.get(key)]}


def test_responses_come_back_by_key_word_for_word_at_once_and_later(folder):
    async def run():
        with Journal(folder) as journal:
            await journal.received(A, got("one"))
            assert A in journal and journal.get(A) == got("one") and B not in journal
            return journal.tail.read_bytes()

    assert asyncio.run(run()).count(b"\n") == 1
    assert read(folder, A, B) == {"a": "one", "b": None}


def test_of_two_answers_to_one_request_the_first_counts(folder):
    write(folder, ("received", A, got("first")), ("received", A, got("second")))
    write(folder, ("received", A, got("third")))
    assert read(folder, A) == {"a": "first"}


def test_every_writer_has_a_file_and_all_are_read(folder):
    files = {write(folder, ("received", key, got(key[0]))) for key in (A, B, C)}
    assert len(files) == 3
    assert read(folder, A, B, C) == {name: name for name in "abc"}


def test_what_was_sent_and_neither_freed_nor_answered_is_possibly_billed(folder):
    sent = [("sent", A), ("sent", B), ("freed", B), ("sent", C), ("sent", C)]
    write(folder, *sent, ("received", C, got("c")))
    with Journal(folder) as journal:
        assert [journal.possibly_billed(key) for key in (A, B, C)] == [1, 0, 1]


def test_probes_and_batches_are_remembered(folder):
    write(folder, ("probed", {"model": "m"}), ("batch_done", "batch_1", "completed"))
    with Journal(folder) as journal:
        assert journal.probes == [{"model": "m"}] and journal.batches_done == {"batch_1"}


@pytest.mark.parametrize("cut", [1, 2, 9, 30])
def test_a_torn_last_line_is_passed_over(folder, cut):
    path = write(folder, ("received", A, got("whole")), ("received", B, got("torn äöü")))
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(folder, A, B)
    assert found["a"] == "whole"
    assert (found["b"] is not None) is (cut == 1)  # only the line's end was missing
    write(folder, ("received", C, got("after")))
    assert read(folder, A, B, C) == found | {"c": "after"}


@pytest.mark.parametrize("rubbish", [b"\0" * 64, b"\xff\xfe\n", b"3\n", b"[]\n", b'{"key": "a"}\n'])
def test_lines_that_are_no_event_are_passed_over(folder, rubbish):
    folder.mkdir(parents=True)
    (folder / "00000-x.jsonl").write_bytes(rubbish)
    write(folder, ("received", A, got("after")))
    assert read(folder, A) == {"a": "after"}


def test_what_is_no_answer_is_kept_to_be_read_again(folder):
    events = [("not_usable", A, got(str(number)), "odd") for number in range(3)]
    write(folder, *events, ("sent", A), ("not_usable", B, got("b"), "odd"))
    write(folder, ("not_usable", A, got("later"), "odd"), ("received", B, got("good")))
    with Journal(folder) as journal:
        assert [each.body for each in journal.unusable(A)] == ["0", "1", "2", "later"]
        assert A not in journal and journal.get(A) is None and journal.possibly_billed(A) == 1
        assert [each.body for each in journal.unusable(B)] == ["b"] and B in journal
        assert not list(journal.unusable(C))


def test_of_many_responses_that_are_no_answer_eight_can_be_read_again(folder):
    write(folder, *[("not_usable", A, got(str(number)), "odd") for number in range(20)])
    with Journal(folder) as journal:
        assert len(list(journal.unusable(A))) == 8


def test_it_is_known_whether_anything_was_ever_answered(folder):
    def answers():
        with Journal(folder) as journal:
            return journal.has_answers

    assert not answers()
    write(folder, ("received", A, got("no", 400)), ("not_usable", B, got("odd"), "odd"))
    assert not answers()
    write(folder, ("received", B, got("yes")))
    assert answers()


def test_a_damaged_answer_is_named(folder):
    path = write(folder, ("received", A, got("x" * 50)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"xxxx", b'"\0"x', 1))
    with Journal(folder) as journal, pytest.raises(StorageError, match="damaged line; remove it"):
        journal.get(A)


@pytest.mark.parametrize(
    "text", ["數字 🙂 é", "line\nline\r\n\u2028end", "\0", 'half \ud83d "pair"']
)
def test_any_text_survives(folder, text):
    path = write(folder, ("received", A, got(text)))
    assert read(folder, A) == {"a": text}
    assert path.read_bytes().count(b"\n") == 1


def test_after_a_full_disk_nothing_follows_the_torn_line(folder):
    code = """
import asyncio, resource, signal, sys
from pathlib import Path
from soda.endpoint.answer import Received
from soda.endpoint.answer import Received
from soda.endpoint.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
async def main():
    with Journal(Path(sys.argv[1])) as journal:
        await journal.received("a" * 64, Received(200, "whole"))
        for key in "bc":
            try:
                await journal.received(key * 64, Received(200, "long" * 99))
            except OSError as error:
                print(error.strerror)
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "File too large\n" * 2
    assert read(folder, A, B, C) == {"a": "whole", "b": None, "c": None}


MEMORY = """
import json, resource, sys
from pathlib import Path
from soda.endpoint.answer import Received
from soda.endpoint.journal import Journal
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Journal(Path(sys.argv[1])) as journal:
    assert journal.get(sys.argv[2]).status == 200
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_answers(folder):
    folder.mkdir(parents=True)
    answer = {"status": 200, "body": "word " * 50, "seconds": 0.5}
    grown = []
    for count in (5_000, 100_000):
        with (folder / "00000-x.jsonl").open("w") as file:
            for number in range(count):
                file.write(json.dumps({"key": f"{number:064x}", "received": answer}) + "\n")
        words = [sys.executable, "-c", MEMORY, str(folder), f"{count - 1:064x}"]
        ran = subprocess.run(words, capture_output=True, text=True, check=True)
        grown.append(int(ran.stdout))
    assert grown[1] <= grown[0] + 12 < 40  # MiB; the index alone may use eight
