"""The text of `--help`."""

import dataclasses

import pytest

from iddpm_tf import settings
from trainers.cli import help_text


@dataclasses.dataclass(frozen=True)
class Options:
  model_dir: str = settings.required("folder of a run")
  steps: int = settings.setting(0, "a number of steps")
  png: bool = settings.setting(False, "also write PNG files")
  clip: bool = settings.setting(True, "clip x_0")
  kind: str = settings.setting("a", "a choice", choices=("a", "b"))
  rates: tuple[float, ...] = settings.setting((0.9, 0.99), "rates")
  limit: float | None = settings.setting(None, "a limit")
  a_setting_of_a_very_long_name: str = settings.setting("", "long " * 20 + "text")


@pytest.fixture(name="wide", autouse=True)
def fixture_wide(monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")


def group(**kwargs):
  return help_text.Group("Flags", settings.by_name(Options).values(), **kwargs)


def test_a_flag_is_its_name_its_meaning_and_its_default():
  assert help_text.full("Draws.\n", [group()]).splitlines() == [
    "Draws.",
    "",
    "Flags:",
    "  --model_dir=DIR             folder of a run",
    "  --steps=NUMBER              a number of steps (default: 0)",
    "  --png                       also write PNG files",
    "  --[no]clip                  clip x_0 (default: true)",
    "  --kind=a|b                  a choice (default: a)",
    "  --rates=NUMBER,...          rates (default: 0.9,0.99)",
    "  --limit=NUMBER              a limit",
    "  --a_setting_of_a_very_long_name=TEXT",
    " " * 30 + "long long long long long long long long long long long long long long",
    " " * 30 + "long long long long long long text",
  ]


def test_no_default_is_shown_where_it_comes_from_elsewhere():
  text = help_text.full("Draws.", [group(has_defaults=False)])
  assert "default" not in text and "--[no]png" in text


def test_text_is_wrapped_to_the_terminal(monkeypatch):
  monkeypatch.setenv("COLUMNS", "60")
  text = help_text.full("Draws.", [group()])
  assert max(map(len, text.splitlines())) <= 60


def test_the_example_is_made_of_what_is_required_where_there_is_none():
  text = help_text.short("draw", "Draws.", settings.by_name(Options).values())
  assert "\n  python -m trainers.draw --model_dir=DIR\n" in text
  assert help_text.summary("\nDraws.\n\nMore.") == "Draws."


def test_many_choices_stand_in_the_text():
  choices = tuple(f"fig{number}" for number in range(40))
  field = settings.setting("fig1", "figure to draw", choices=choices)
  made = dataclasses.make_dataclass("Made", [("figure", str, field)])
  text = help_text.full("Draws.", [help_text.Group("Flags", settings.by_name(made).values())])
  assert "  --figure=TEXT " in text and max(map(len, text.splitlines())) <= help_text.WIDTH
  assert f"figure to draw: one of {', '.join(choices)} (default: fig1)" in " ".join(text.split())
