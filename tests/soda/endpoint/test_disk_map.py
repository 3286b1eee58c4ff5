"""The first value for each key stays."""

from soda.endpoint.disk_map import DiskMap


def test_the_first_of_each_key_stays_whether_it_comes_alone_or_with_many():
    found = DiskMap()
    assert found.add(b"a", b"1") and not found.add(b"a", b"2")
    found.add_many([(b"b", b"1"), (b"a", b"3"), (b"b", b"2")])
    assert (found.get(b"a"), found.get(b"b"), found.get(b"c")) == (b"1", b"1", None)
    assert b"b" in found and b"c" not in found
    found.close()


def test_keys_of_any_length_are_told_apart():
    found = DiskMap()
    found.add_many([(b"k" + bytes([n]), bytes([n])) for n in range(256)])
    assert found.get(b"k") is None and found.get(b"k\x07") == b"\x07"
    found.close()
