"""A progress that keeps what it is told."""

from iddpm_tf.utils import progress as progress_lib


class Recorder(progress_lib.Silent):
  """Keeps lines, and counts what the bars show.

  Attributes:
    lines: the lines.
    descriptions: the descriptions of the bars.
    total: what all bars were to show.
    done: what they have shown.
  """

  def __init__(self):
    self.lines, self.descriptions = [], []
    self.total, self.done = 0, 0

  def say(self, text):
    self.lines.append(text)

  def bar(self, *, total, unit, initial=0, description=""):
    self.descriptions.append(description)
    self.total += total - initial
    return self

  def update(self, n=1):
    self.done += n

  def set_postfix_str(self, s=""):
    pass

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass
