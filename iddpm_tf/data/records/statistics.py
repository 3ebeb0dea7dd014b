"""Statistics of pictures: counts of their sizes, modes, formats and labels."""

import collections
from typing import Any

import numpy as np

from iddpm_tf.data import decoding

_EXAMPLES = 10  # Names that are kept.


class Statistics:
  """Counts over readable pictures, which can be merged and written as JSON.

  The names of the attributes are the keys of the JSON.

  Attributes:
    sizes: pictures by "HxW".
    modes: pictures by Pillow's mode.
    formats: pictures by format.
    labels: pictures by label.
    named_otherwise: the number of files whose names say another format than their content.
    examples_named_otherwise: the names of the first ten of them.
  """

  def __init__(self) -> None:
    self.sizes: collections.Counter[str] = collections.Counter()
    self.modes: collections.Counter[str] = collections.Counter()
    self.formats: collections.Counter[str] = collections.Counter()
    self.labels: collections.Counter[str] = collections.Counter()
    self.named_otherwise = 0
    self.examples_named_otherwise: list[str] = []

  @property
  def count(self) -> int:
    """The number of pictures."""
    return sum(self.formats.values())

  def add(self, outcome: decoding.Outcome) -> None:
    """Counts a picture that could be read."""
    decoded = outcome.decoded
    assert decoded is not None
    self.sizes[f"{decoded.height}x{decoded.width}"] += 1
    self.modes[decoded.mode] += 1
    self.formats[decoded.format] += 1
    self.labels[str(outcome.label)] += 1
    if decoded.named_otherwise:
      self.named_otherwise += 1
      if len(self.examples_named_otherwise) < _EXAMPLES:
        self.examples_named_otherwise.append(outcome.name)

  def merge(self, other: "Statistics") -> None:
    """Adds the counts of other pictures."""
    for name in ("sizes", "modes", "formats", "labels"):
      getattr(self, name).update(getattr(other, name))
    self.named_otherwise += other.named_otherwise
    examples = self.examples_named_otherwise + other.examples_named_otherwise
    self.examples_named_otherwise = examples[:_EXAMPLES]

  def to_json(self) -> dict[str, Any]:
    """Returns the counts as a dictionary for JSON, with sorted keys."""
    return {
      name: dict(sorted(value.items())) if isinstance(value, collections.Counter) else value
      for name, value in vars(self).items()
    }

  @classmethod
  def from_json(cls, content: dict[str, Any]) -> "Statistics":
    """Returns the statistics that `to_json` has returned."""
    statistics = cls()
    for name, value in content.items():
      setattr(statistics, name, collections.Counter(value) if isinstance(value, dict) else value)
    return statistics

  def sizes_in_short(self) -> dict[str, str]:
    """Returns the smallest, median and largest size by area, the most common, and their number.

    The sizes are "HxW". The dictionary is empty if there are no pictures.
    """
    if not self.sizes:
      return {}
    by_area = sorted(
      self.sizes, key=lambda size: (np.prod([int(side) for side in size.split("x")]), size)
    )
    ends = np.cumsum([self.sizes[size] for size in by_area])
    return {
      "smallest": by_area[0],
      "median": by_area[int(np.searchsorted(ends, ends[-1] / 2))],
      "largest": by_area[-1],
      "most common": self.sizes.most_common(1)[0][0],
      "different": str(len(by_area)),
    }
