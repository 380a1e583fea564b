"""The verb `status`."""

from sr_core.__main__ import main


def test_a_directory_without_a_run_is_named(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 5
    assert f"status: {tmp_path}: is not a run directory, expected params.json in it" in capsys.readouterr().err
