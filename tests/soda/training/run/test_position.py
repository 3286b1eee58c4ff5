"""Where a training is."""

from soda.training.run.position import Position


def test_positions_sort_as_their_names_do():
    positions = [Position(0, 9), Position(0, 10), Position(0, 123_456), Position(1, 0)]
    assert sorted(positions) == positions
    assert sorted(one.name for one in positions) == [one.name for one in positions]
