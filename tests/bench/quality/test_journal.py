from bench.quality.cells import PRESETS
from bench.quality.journal import read_journal, write_cell

CELLS = PRESETS["tiny"].cells()


def test_cells_come_back_with_their_figures(tmp_path):
    path = tmp_path / "journal.jsonl"
    for place, cell in enumerate(CELLS):
        write_cell(path, cell, {"setting": "tiny", "right": [place, None]})
    found = list(read_journal(path))
    assert [cell for cell, _ in found] == CELLS
    assert [figures["right"] for _, figures in found] == [[n, None] for n in range(len(CELLS))]


def test_there_is_none_yet(tmp_path):
    assert list(read_journal(tmp_path / "journal.jsonl")) == []


def test_a_line_that_a_kill_cut_off_is_left_out_wherever_it_was_cut(tmp_path):
    path = tmp_path / "journal.jsonl"
    write_cell(path, CELLS[0], {"right": [1]})
    whole = path.read_bytes()
    write_cell(path, CELLS[1], {"right": [0]})
    line = path.read_bytes()[len(whole) :]
    for length in range(0, len(line) - 2, 7):
        path.write_bytes(whole + line[:length])
        write_cell(path, CELLS[2], {"right": [2]})
        assert [cell for cell, _ in read_journal(path)] == [CELLS[0], CELLS[2]]
