"""Progress bars."""

import sys

import tqdm


def bar(*, total, unit, initial=0, description=None):
  """A bar with the rate and the time left; in a log file, a line only now and then."""
  terminal = sys.stderr.isatty()
  return tqdm.tqdm(total=total, initial=initial, unit=unit, desc=description, dynamic_ncols=terminal,
                   mininterval=0.5 if terminal else 10.0, file=sys.stderr)
