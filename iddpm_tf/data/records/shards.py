"""Files of records: DIR/SPLIT/images-00000-of-00012.npy, labels-...npy, and the facts of a shard.

A shard holds a fixed range of positions of a listing. Pictures that cannot be read make it smaller,
but do not change where the next shard begins. Every file appears whole or not at all.
"""

from collections.abc import Iterable
import hashlib
import pathlib
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

import numpy as np

from iddpm_tf.data import decoding
from iddpm_tf.data.records import statistics as statistics_lib
from iddpm_tf.utils import files

INDEX = "index.json"  # Written last: where it is, the records are finished.
PLAN = "plan.json"  # Written first: what the records are made of.
VERSION = 1
# Settings, besides the size and its method, that decide which pixels a picture has. A plan or an
# index without them is of a version that knew none of them.
PIXEL_SETTINGS = ("exif_orientation", "background", "max_value")


class Shard(NamedTuple):
  """A shard: the positions from `start` up to `stop` of a split's listing.

  Attributes:
    folder: the folder of the split.
    number: the index of the shard.
    num_shards: the number of shards of the split.
    start: its first position.
    stop: the first position of the next shard.
  """

  folder: pathlib.Path
  number: int
  num_shards: int
  start: int
  stop: int

  def path(self, kind: str) -> pathlib.Path:
    """Returns the path of the shard's `images` or `labels`, or, in JSON, of its facts (`shard`)."""
    extension = "json" if kind == "shard" else "npy"
    return self.folder / f"{kind}-{self.number:05d}-of-{self.num_shards:05d}.{extension}"


def split_up(folder: pathlib.Path, pictures: int, shard_size: int) -> list[Shard]:
  """Returns the shards of a number of pictures."""
  num_shards = -(-pictures // shard_size)
  return [
    Shard(folder, i, num_shards, i * shard_size, min((i + 1) * shard_size, pictures))
    for i in range(num_shards)
  ]


def write(
  shard: Shard,
  outcomes: Iterable[decoding.Outcome],
  shape: tuple[int, int, int],
  *,
  reference_name: str,
  sole_writer: bool = True,
) -> dict[str, Any]:
  """Writes the pictures, the labels and then the facts of a shard.

  Args:
    shard: the shard.
    outcomes: one for each position of the shard.
    shape: (H, W, C) of every decoded picture.
    reference_name: the name of a picture of this size, for errors.
    sole_writer: whether no other process writes this shard; see `files.whole`.

  Returns:
    The facts, as they are written.

  Raises:
    InputError: a picture has another size.
  """
  unreadable, labels, statistics = [], [], statistics_lib.Statistics()
  path = shard.path("images")
  with files.whole(path, sole_writer=sole_writer) as temporary, open(temporary, "wb") as file:
    _write_header(file, shard.stop - shard.start, shape)
    for position, outcome in enumerate(outcomes, shard.start):
      if outcome.decoded:
        decoding.require_same_size(outcome, shape[:2], reference_name)
        file.write(np.ascontiguousarray(outcome.decoded.pixels).data)
        labels.append(outcome.label)
        statistics.add(outcome)
      else:
        unreadable.append([position, outcome.name, outcome.reason])
    file.seek(0)
    _write_header(file, len(labels), shape)
  with files.whole(shard.path("labels"), sole_writer=sole_writer) as temporary:
    np.save(temporary, np.asarray(labels, np.int32))
  facts = {
    "start": shard.start,
    "stop": shard.stop,
    "count": len(labels),
    "files": [_file_facts(shard.path(kind)) for kind in ("images", "labels")],
    "unreadable": unreadable,
    "statistics": statistics.to_json(),
  }
  files.write_json(shard.path("shard"), facts, indent=1, sole_writer=sole_writer)
  return facts


def finished(shard: Shard) -> dict[str, Any] | None:
  """Returns the facts of a shard whose files are whole, or None if it must be made."""
  try:
    facts = files.read_json(shard.path("shard"))
    whole = all(
      (shard.folder / file["name"]).stat().st_size == file["bytes"] for file in facts["files"]
    )
    return facts if whole and (facts["start"], facts["stop"]) == (shard.start, shard.stop) else None
  except (OSError, ValueError, KeyError, TypeError):
    return None


def checksum(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while block := file.read(2**20):
      digest.update(block)
  return digest.hexdigest()


def _write_header(file: BinaryIO, count: int, shape: tuple[int, int, int]) -> None:
  """Writes the header of an .npy file.

  NumPy leaves enough room for any count in it, so that it can be overwritten.
  """
  np.lib.format.write_array_header_1_0(
    file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
  )


def _file_facts(path: pathlib.Path) -> dict[str, Any]:
  return {"name": path.name, "bytes": path.stat().st_size, "sha256": checksum(path)}
