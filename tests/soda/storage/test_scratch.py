"""The scratch folder is this user's own, whatever somebody else has put in its place."""

import os
import stat
from pathlib import Path

import pytest

from soda.errors import StorageError
from soda.storage.scratch import scratch


@pytest.fixture(params=["SODA_SCRATCH", "the temporary folder"])
def above(request, tmp_path, monkeypatch):
    """A folder where everybody may write."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    if request.param == "SODA_SCRATCH":
        monkeypatch.setenv("SODA_SCRATCH", str(above))
    else:
        monkeypatch.setattr("tempfile.tempdir", str(above))
    return above


def test_it_is_a_folder_of_this_user_alone(above):
    assert scratch() == above / f"soda-{os.getuid()}" == scratch()
    assert stat.S_IMODE(scratch().stat().st_mode) == 0o700


def test_a_link_is_refused(above, tmp_path):
    (tmp_path / "somebodys").mkdir()
    (above / f"soda-{os.getuid()}").symlink_to(tmp_path / "somebodys")
    with pytest.raises(StorageError, match="expected a folder, found a link"):
        scratch()


def test_a_folder_of_another_user_is_refused(above, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 12345)
    (above / "soda-12345").mkdir(mode=0o700)
    mine = (above / "soda-12345").stat().st_uid
    with pytest.raises(StorageError, match=f"found one of user {mine}; set SODA_SCRATCH"):
        scratch()


def test_a_folder_where_others_write_is_refused(above):
    scratch().chmod(0o777)
    with pytest.raises(StorageError, match="found mode 777"):
        scratch()


def test_a_file_in_its_place_is_refused_in_one_line(above):
    (above / f"soda-{os.getuid()}").write_text("")
    with pytest.raises(StorageError, match="expected a folder of this user, found: File exists"):
        scratch()


def test_a_place_that_cannot_be_made_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SODA_SCRATCH", str(Path(tmp_path / "file" / "scratch")))
    with pytest.raises(StorageError, match="found: Not a directory; set SODA_SCRATCH"):
        scratch()
