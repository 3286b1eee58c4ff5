"""What is kept elsewhere is noted nowhere; a journal takes the same notes."""

import asyncio
import inspect

from soda.endpoint.answer import Received
from soda.endpoint.journal import Journal
from soda.endpoint.notes import Notes, Nothing

KEY = "ab" * 32


async def tell(notes):
    await notes.sent(KEY)
    await notes.freed(KEY)
    await notes.sent(KEY)
    await notes.not_usable(KEY, Received(200, "odd"), "why")
    await notes.sent(KEY)
    await notes.received(KEY, Received(200, "whole"))


def test_a_journal_and_nothing_take_the_same_notes(tmp_path):
    asyncio.run(tell(Nothing()))
    with Journal(tmp_path) as journal:
        asyncio.run(tell(journal))
        assert journal.get(KEY) == Received(200, "whole") and journal.possibly_billed(KEY) == 1
    for name in ("sent", "freed", "received", "not_usable"):
        assert len({str(inspect.signature(getattr(each, name)))
                    for each in (Notes, Nothing, Journal)}) == 1  # fmt: skip
