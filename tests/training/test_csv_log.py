"""The CSV file of a training: rows, new columns, and what a kill leaves."""

import pathlib

import pytest

from iddpm_tf.training import csv_log


def test_a_row_is_added_for_each_step(tmp_path):
  path = tmp_path / "progress.csv"
  log = csv_log.CsvLog(path)
  assert not path.exists()
  log.append(100, {"loss/loss": 0.25, "learning_rate": 1e-4})
  log.append(200, {"loss/loss": 0.125, "learning_rate": 1e-4})
  assert path.read_text() == "step,loss/loss,learning_rate\n100,0.25,0.0001\n200,0.125,0.0001\n"


def test_a_new_column_is_empty_in_earlier_rows(tmp_path):
  path = tmp_path / "progress.csv"
  csv_log.CsvLog(path).append(1, {"a": 1.0})
  log = csv_log.CsvLog(path)  # As of another process.
  log.append(2, {"b": 2.0})
  log.append(3, {"a": 3.0})
  assert path.read_text() == "step,a,b\n1,1,\n2,,2\n3,3,\n"


def test_a_training_that_goes_back_repeats_no_step(tmp_path):
  path = tmp_path / "progress.csv"
  log = csv_log.CsvLog(path)
  for step in (1, 2, 3):
    log.append(step, {"a": step})
  log.go_back(1)
  assert path.read_text() == "step,a\n1,1\n"
  log.append(2, {"a": 9})
  assert path.read_text() == "step,a\n1,1\n2,9\n"


@pytest.mark.parametrize("torn", ["3", "3,", "3,5", "\0"])
def test_a_row_that_a_kill_has_left_is_dropped(tmp_path, torn):
  path = tmp_path / "progress.csv"
  path.write_text("step,a,b\n1,1,1\n" + torn)
  log = csv_log.CsvLog(path)
  log.append(2, {"a": 2, "b": 2})
  assert path.read_text() == "step,a,b\n1,1,1\n2,2,2\n"


def test_after_a_full_disk_the_file_is_mended(tmp_path, monkeypatch):
  path = tmp_path / "progress.csv"
  log = csv_log.CsvLog(path)
  log.append(1, {"a": 1})
  with monkeypatch.context() as patch:

    def fail(*_, **__):
      with open(path, "a", encoding="utf-8") as file:
        file.write("2")
      raise OSError(28, "No space left on device")

    patch.setattr(pathlib.Path, "open", fail)
    with pytest.raises(OSError, match="No space"):
      log.append(2, {"a": 2})
  log.append(3, {"a": 3})
  assert path.read_text() == "step,a\n1,1\n3,3\n"


def test_a_file_that_was_deleted_begins_anew(tmp_path):
  path = tmp_path / "progress.csv"
  log = csv_log.CsvLog(path)
  log.append(1, {"a": 1})
  path.unlink()
  log.append(2, {"a": 2})
  log.append(3, {"a": 3})
  assert path.read_text() == "step,a\n2,2\n3,3\n"


@pytest.mark.parametrize("text", ["", "\n", "other,columns\n1,2\n"])
def test_another_file_is_replaced(tmp_path, text):
  path = tmp_path / "progress.csv"
  path.write_text(text)
  csv_log.CsvLog(path).append(1, {"a": 1})
  assert path.read_text() == "step,a\n1,1\n"
