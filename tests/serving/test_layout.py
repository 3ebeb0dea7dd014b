"""Names and versions of exported models."""

import pytest

from iddpm_tf import settings
from iddpm_tf.serving import layout


@pytest.mark.parametrize("name", ["digits", "a", "7", "A-b_c.d", "n" * 100])
def test_a_valid_name_is_accepted(name):
  layout.require_name(name)


@pytest.mark.parametrize(
  "name",
  ["", "../up", "a b", "a/b", ".hidden", "-a", "é", "n" * 101, "models.config", "SERVING.md"],
)
def test_another_name_is_refused(name):
  with pytest.raises(settings.InputError, match=r"^name: expected "):
    layout.require_name(name)


def test_names_that_are_not_versions_are_ignored(tmp_path):
  for name in ("3", "99999999999999999999", "v9", ".unfinished-1"):
    (tmp_path / name).mkdir()
  assert layout.next_version(tmp_path) == 4
  layout.require_new_version(tmp_path, 4)
  layout.require_new_version(tmp_path, None)
  with pytest.raises(settings.InputError, match=r"^version: expected a number below 2"):
    layout.require_new_version(tmp_path, 3)


def test_there_is_a_largest_version(tmp_path):
  with pytest.raises(settings.InputError, match=r"^version: expected a number below 2"):
    layout.require_new_version(tmp_path, 2**63)
  (tmp_path / str(2**63 - 1)).mkdir()
  with pytest.raises(settings.InputError, match=r"^version: expected a number below 2"):
    layout.require_new_version(tmp_path, None)


def test_a_new_model_begins_at_version_1(tmp_path):
  assert layout.next_version(tmp_path / "none") == 1


@pytest.mark.parametrize("name", ["1", "20240131", str(2**63 - 1)])
def test_a_version_is_a_number(name):
  assert layout.is_version(name)


@pytest.mark.parametrize("name", ["", "03", "-1", "v1", "²", ".3-abc", "latest", "9" * 40])
def test_another_name_is_not_a_version(name):
  assert not layout.is_version(name)
