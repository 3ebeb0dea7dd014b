"""The order of the tests of faults."""

import pathlib

# What takes longest begins first: at the end, it would leave one of two processes idle.
_FIRST = (
  "test_kills_at_random_moments_leave_no_trace",
  "test_workers",
  "test_combinations",
  "test_random_flags_are_one_line_or_a_step",
  "test_ten_thousand_steps_take_no_more_than_the_first_thousand",
  "test_signals_at_any_moment_end_in_a_line",
)


def pytest_collection_modifyitems(items):
  """Moves the longest tests of this folder to the front."""

  def place(item):
    if item.path.parent != pathlib.Path(__file__).parent:
      return len(_FIRST)
    names = (item.name.partition("[")[0], item.path.stem)
    return min((_FIRST.index(name) for name in names if name in _FIRST), default=len(_FIRST))

  items.sort(key=place)
