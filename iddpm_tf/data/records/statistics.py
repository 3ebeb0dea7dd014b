"""Statistics of pictures: counts of their sizes, modes, formats, labels and oddities."""

import collections
from typing import Any

import numpy as np

from iddpm_tf.data import decoding

PER_CHANNEL = "16 per channel"
_EXAMPLES = 10  # Names that are kept.
_FEW_LEVELS = 128  # Of 256: a user is told if no more are left of 16 bits.
_COUNTERS = ("sizes", "modes", "formats", "labels", "colours", "orientations", "bits")


def bits_in_words(bits: str) -> str:
  """Returns a key of `Statistics.bits` in words, such as `16 bits per channel`."""
  return "16 bits per channel" if bits == PER_CHANNEL else f"{bits} bits"


class Statistics:
  """Counts over readable pictures, which can be merged and written as JSON.

  The names of the attributes are the keys of the JSON.

  Attributes:
    sizes: pictures by "HxW".
    modes: pictures by Pillow's mode.
    formats: pictures by format.
    labels: pictures by label.
    colours: pictures that are grey, and pictures with colour.
    orientations: pictures by EXIF orientation, except upright ones.
    transparent: the number of pictures with pixels that are not opaque.
    bits: pictures by the bits of their values: `8`, `16`, or `16 per channel` for those of several
      channels, of which only the upper 8 bits are read.
    ranges: the least and the greatest value of all pictures by the bits of their values. Those of 8
      bits are of the images that the pictures become.
    named_otherwise: the number of files whose names say another format than their content.
    examples_named_otherwise: the names of the first ten of them.
  """

  def __init__(self) -> None:
    self.sizes: collections.Counter[str] = collections.Counter()
    self.modes: collections.Counter[str] = collections.Counter()
    self.formats: collections.Counter[str] = collections.Counter()
    self.labels: collections.Counter[str] = collections.Counter()
    self.colours: collections.Counter[str] = collections.Counter()
    self.orientations: collections.Counter[str] = collections.Counter()
    self.transparent = 0
    self.bits: collections.Counter[str] = collections.Counter()
    self.ranges: dict[str, list[int]] = {}
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
    self.colours["grey" if decoded.is_grey else "colour"] += 1
    if decoded.orientation != 1:
      self.orientations[str(decoded.orientation)] += 1
    self.transparent += decoded.is_transparent
    bits = str(decoded.bits)
    if decoded.bits == 16 and not decoded.mode.startswith("I"):
      bits = PER_CHANNEL
    self.bits[bits] += 1
    self._widen(bits, [decoded.least, decoded.greatest])
    if decoded.named_otherwise:
      self.named_otherwise += 1
      if len(self.examples_named_otherwise) < _EXAMPLES:
        self.examples_named_otherwise.append(outcome.name)

  def merge(self, other: "Statistics") -> None:
    """Adds the counts of other pictures."""
    for name in _COUNTERS:
      getattr(self, name).update(getattr(other, name))
    for bits, values in other.ranges.items():
      self._widen(bits, values)
    self.transparent += other.transparent
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
      setattr(statistics, name, collections.Counter(value) if name in _COUNTERS else value)
    return statistics

  def notes(self, max_value: int) -> list[str]:
    """Returns lines that a user should read about what the pictures lose.

    Args:
      max_value: the value of pictures of 16 bits that becomes white; 0: 65535.
    """
    notes = []
    for bits in self.ranges.keys() & {"16", PER_CHANNEL}:
      greatest = self.ranges[bits][1]
      scale = max_value if bits == "16" and max_value else 2**16 - 1
      text = f"pictures of {bits_in_words(bits)} have values up to {greatest}"
      levels = min(greatest, scale) * 255 // scale + 1
      if greatest > scale:
        notes.append(f"{text}, and those above max_value={max_value} become white")
      elif levels <= _FEW_LEVELS and bits == "16":
        notes.append(
          f"{text}, of which {levels} of 256 levels are left; max_value={greatest} makes use of all"
        )
      elif levels <= _FEW_LEVELS:
        notes.append(
          f"{text}, of which {levels} of 256 levels are left, because only the upper 8 bits of "
          "colours can be read; convert these pictures to 8 bits first"
        )
    return sorted(notes)

  def _widen(self, bits: str, values: list[int]) -> None:
    """Adds the least and the greatest value of a picture, or of several, to the ranges."""
    values = values + self.ranges.get(bits, [])
    self.ranges[bits] = [min(values), max(values)]

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
