"""Near-duplicates: pictures that look alike, such as copies of other sizes or qualities."""

import collections

import numpy as np
from PIL import Image

_HEIGHT, _WIDTH = 8, 9  # Of a thumbnail: 64 pairs of neighbours in a row.
_COMPARED = 64  # The most thumbnails that one is compared with for each key.
_MEAN_DIFFERENCE, _LARGEST_DIFFERENCE = 2.0, 12  # Levels of 255, at most, of near-duplicates.


class NearDuplicates:
  """Finds pictures that resemble an earlier one.

  Each picture becomes a thumbnail. Which of two neighbours is brighter gives 64 bits, in four keys
  of 16. Thumbnails that share a key are compared level by level. Near-duplicates differ in few
  bits, so that they share one almost always. The work does not grow with the square of the number
  of pictures, because each is compared with the last ones of its keys only.

  Attributes:
    pairs: the name of each picture that resembles an earlier one, and the name of that one.
  """

  def __init__(self) -> None:
    self.pairs: list[tuple[str, str]] = []
    self._names: list[str] = []
    self._thumbnails: list[np.ndarray] = []
    self._positions: dict[tuple[int, int], collections.deque[int]] = collections.defaultdict(
      lambda: collections.deque(maxlen=_COMPARED)
    )

  def add(self, name: str, pixels: np.ndarray) -> None:
    """Compares a picture with the earlier ones.

    Args:
      name: its name.
      pixels: uint8 [H, W, C].
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    small = image.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
    thumbnail = np.asarray(small.convert("RGB"))  # [8, 9, 3]
    grey = np.asarray(small.convert("L"))
    keys = np.packbits(grey[:, 1:] > grey[:, :-1]).view(np.uint16)  # [4]
    buckets = [self._positions[number, int(key)] for number, key in enumerate(keys)]
    earlier = sorted(set().union(*buckets))
    if earlier:
      others = np.stack([self._thumbnails[position] for position in earlier]).astype(int)
      differences = np.abs(others - thumbnail)
      alike = (differences.mean(axis=(1, 2, 3)) <= _MEAN_DIFFERENCE) & (
        differences.max(axis=(1, 2, 3)) <= _LARGEST_DIFFERENCE
      )
      if alike.any():
        self.pairs.append((name, self._names[earlier[int(np.argmax(alike))]]))
    for bucket in buckets:
      bucket.append(len(self._names))
    self._names.append(name)
    self._thumbnails.append(thumbnail)
