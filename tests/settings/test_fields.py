"""Fields of dataclasses of settings, and the checks of their values."""

import dataclasses
import math
import pathlib

import pytest

from iddpm_tf import settings
from iddpm_tf.settings import registry


@dataclasses.dataclass(frozen=True)
class Base:
  steps: int = settings.setting(1, "a number of steps", changeable=True)
  kind: str = settings.setting("a", "a choice", choices=("a", "b"))
  shape: tuple[int, ...] = settings.recorded(())


@dataclasses.dataclass(frozen=True)
class Options(Base):
  folder: str = settings.required("a folder")
  rates: tuple[float, ...] = settings.setting((0.5,), "rates")


def test_a_required_setting_may_follow_others():
  assert Options(folder="a").folder == "a"
  with pytest.raises(TypeError, match="folder"):
    Options()


def test_settings_by_name_leave_out_what_is_recorded():
  assert list(settings.by_name(Options)) == ["steps", "kind", "folder", "rates"]
  assert settings.by_name(Base, Options)["steps"].metadata["changeable"]
  assert settings.by_name() == {}


def test_changed_settings_are_those_that_differ_from_their_defaults():
  assert settings.changed(Options(folder="a")) == {"folder": "a"}
  options = Options(folder="a", steps=2, kind="a", rates=(), shape=(1,))
  assert settings.changed(options) == {"folder": "a", "steps": 2, "rates": ()}


def test_require_says_what_was_expected():
  settings.require(True, "steps", "more", 1)
  with pytest.raises(settings.InputError) as error:
    settings.require((), "rates", "one rate or more", (0.5, 1))
  assert str(error.value) == "rates: expected one rate or more, received 0.5,1"
  assert (error.value.name, error.value.message) == (
    "rates",
    "expected one rate or more, received 0.5,1",
  )


@pytest.mark.parametrize("seed", (-1, 2**31))
def test_seeds_have_a_range(seed):
  settings.require_seed(0)
  settings.require_seed(settings.MAX_SEED)
  with pytest.raises(settings.InputError, match=rf"^seed: .*{seed}"):
    settings.require_seed(seed)


@pytest.mark.parametrize("steps", (0, -1, math.nan, math.inf))
def test_numbers_above_0(steps):
  settings.require_positive(Base(steps=1), "steps")
  with pytest.raises(settings.InputError, match=r"^steps: expected a positive number"):
    settings.require_positive(Base(steps=steps), "steps")


@pytest.mark.parametrize("steps", (-1, math.nan, math.inf))
def test_numbers_of_at_least_0(steps):
  settings.require_not_negative(Base(steps=0), "steps")
  with pytest.raises(settings.InputError, match=r"^steps: expected a number of at least 0"):
    settings.require_not_negative(Base(steps=steps), "steps")


def test_choices():
  settings.require_choices(Base(kind="b"))
  with pytest.raises(settings.InputError, match=r"^kind: expected one of a, b, received 'c'$"):
    settings.require_choices(Base(kind="c"))


def test_a_registry_gives_the_choices_of_the_moment():
  names = registry.Registry("kind", "iddpm_tf.settings", helpers=("fields",))
  field = dataclasses.fields(
    dataclasses.make_dataclass("Made", [("kind", str, settings.setting("a", "", choices=names))])
  )[0]
  assert "fields" not in settings.choices_of(field) and "mine" not in settings.choices_of(field)
  names.register("mine")(object())
  assert "mine" in settings.choices_of(field)


def test_errors_are_raised_under_another_name():
  with (
    pytest.raises(settings.InputError, match=r"^outside: expected more, received 1$"),
    settings.renamed({"inside": "outside"}),
  ):
    settings.require(False, "inside", "more", 1)
  with (
    pytest.raises(settings.InputError, match=r"^other: "),
    settings.renamed({"inside": "outside"}),
  ):
    settings.require(False, "other", "more", 1)


def test_addresses_of_remote_storage_are_no_paths():
  for path in (
    "gs://bucket/run",
    "s3://a",
    "file:///a",
    "hdfs://host:9000/a",
    pathlib.Path("gs://a"),
  ):
    with pytest.raises(settings.InputError, match=r"^output_dir: expected a path on this machine"):
      settings.require_local("output_dir", path)
  for path in (None, "runs/a", "/a:/b", r"C:\runs", "C:/runs", "a:b/c", "huggingface:mnist", 3):
    settings.require_local("output_dir", path)
