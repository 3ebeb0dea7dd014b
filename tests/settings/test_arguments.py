"""Settings as the arguments of a command line."""

import dataclasses

import pytest

from iddpm_tf import settings
from iddpm_tf.settings import arguments


@dataclasses.dataclass(frozen=True)
class Options:
  steps: int = settings.setting(1, "a number of steps")
  rate: float = settings.setting(0.5, "a rate")
  limit: float | None = settings.setting(None, "a limit")
  name: str = settings.setting("", "a name")
  clip: bool = settings.setting(True, "a switch")
  kind: str = settings.setting("a", "a choice", choices=("a", "b"))
  rates: tuple[float, ...] = settings.setting((), "rates")
  samplers: tuple[str, ...] = settings.setting((), "names")
  shape: tuple[int, ...] = settings.recorded(())


def parse(*texts, where=""):
  return arguments.parse(
    [arguments.Argument(text, where) for text in texts], settings.by_name(Options)
  )


@pytest.mark.parametrize(
  "texts, values",
  [
    ((), {}),
    (("--steps=3",), {"steps": 3}),
    (("-steps=3",), {"steps": 3}),
    (("--steps", "3"), {"steps": 3}),
    (("--steps=-3",), {"steps": -3}),
    (("--steps=3", "--steps=4"), {"steps": 4}),
    (("--rate=1e-3",), {"rate": 0.001}),
    (("--limit=2",), {"limit": 2.0}),
    (("--name=",), {"name": ""}),
    (("--name=a=b --c",), {"name": "a=b --c"}),
    (("--name", "--steps"), {"name": "--steps"}),
    (("--clip",), {"clip": True}),
    (("--noclip",), {"clip": False}),
    (("--clip=false",), {"clip": False}),
    (("--clip=True",), {"clip": True}),
    (("--kind=b",), {"kind": "b"}),
    (("--rates=0.9,1",), {"rates": (0.9, 1.0)}),
    (("--rates=",), {"rates": ()}),
    (("--samplers=ddim:50,ancestral",), {"samplers": ("ddim:50", "ancestral")}),
  ],
)
def test_values(texts, values):
  assert parse(*texts) == values


def test_whole_numbers_and_numbers_have_their_types():
  assert type(parse("--steps=3")["steps"]) is int
  assert type(parse("--rate=3")["rate"]) is float


@pytest.mark.parametrize(
  "texts, message",
  [
    (("--steps=many",), "steps: expected a whole number, received 'many'"),
    (("--steps=1.5",), "steps: expected a whole number, received '1.5'"),
    (("--rate=",), "rate: expected a number, received ''"),
    (("--clip=perhaps",), "clip: expected true or false, received 'perhaps'"),
    (("--kind=c",), "kind: expected one of a, b, received 'c'"),
    (("--rates=1,x",), "rates: expected comma-separated numbers, received '1,x'"),
    (("--steps",), "steps: expected a value, received nothing"),
    (("steps=3",), "arguments: expected settings of the form --name=value, received 'steps=3'"),
    (("--clip", "true"), "arguments: expected settings of the form --name=value, received 'true'"),
    (("--=3",), "arguments: expected settings of the form --name=value, received '--=3'"),
  ],
)
def test_wrong_values(texts, message):
  with pytest.raises(settings.InputError) as error:
    parse(*texts)
  assert str(error.value) == message


def test_a_wrong_line_of_a_flagfile_is_named():
  with pytest.raises(settings.InputError) as error:
    parse("--steps=many", where="a.flags, line 3")
  assert str(error.value) == ("steps: expected a whole number, received 'many' (a.flags, line 3)")


def test_the_value_of_a_line_is_not_on_the_next_one():
  with pytest.raises(settings.InputError, match=r"^steps: expected a value"):
    arguments.parse(
      [arguments.Argument("--steps", "a, line 1"), arguments.Argument("3", "a, line 2")],
      settings.by_name(Options),
    )


@pytest.mark.parametrize(
  "name, nearest",
  [
    ("step", "steps"),
    ("Steps", "steps"),
    ("no_clip", "noclip"),
    ("sampler", "samplers"),
    ("nosteps", "steps"),
    ("shape", None),
    ("zzzzzzzz", None),
  ],
)
def test_a_near_miss_names_the_setting(name, nearest):
  with pytest.raises(arguments.UnknownSettingError) as error:
    parse(f"--{name}=1")
  assert (error.value.name, error.value.nearest) == (name, nearest)
  hint = f"; did you mean {nearest}?" if nearest else ""
  assert str(error.value) == f"{name}: there is no such setting{hint}"


def test_only_switches_can_be_negated():
  with pytest.raises(arguments.UnknownSettingError):
    parse("--nosteps")
  with pytest.raises(arguments.UnknownSettingError):
    parse("--noclip=true")
