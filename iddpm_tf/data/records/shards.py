"""Files of records: DIR/SPLIT/images-00000-of-00012.npy, labels-...npy, and what is known about each shard.

A shard stands for a fixed range of positions of a listing. Which of its pictures could be read changes
what is in it, never where the next begins. Every file appears whole or not at all.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from iddpm_tf.data.records import statistics

INDEX = "index.json"  # Written last: records are whole where it is.
PLAN = "plan.json"  # Written first: what the records are to be.
VERSION = 1


class Shard(NamedTuple):
  """Positions `start` up to `stop` of a split's listing."""

  folder: pathlib.Path  # Of the split.
  number: int
  of: int
  start: int
  stop: int

  def path(self, kind):
    """Of `images`, `labels` or `shard`, the last being JSON."""
    return (
      self.folder
      / f"{kind}-{self.number:05d}-of-{self.of:05d}.{'json' if kind == 'shard' else 'npy'}"
    )


def all_of(folder, count, shard_size):
  """The `Shard`s of `count` pictures."""
  number = -(-count // shard_size)
  return [
    Shard(folder, i, number, i * shard_size, min((i + 1) * shard_size, count))
    for i in range(number)
  ]


def write(shard, outcomes, shape):
  """Writes the pictures and labels of a shard; returns its facts, which it has written as JSON.

  Args:
    shard: a `Shard`.
    outcomes: a `decoding.Outcome` for each of its positions.
    shape: (H, W, C) of every decoded picture.
  """
  refused, labels, counts = [], [], statistics.Statistics()
  with _whole(shard.path("images")) as file:
    _write_header(file, shard.stop - shard.start, shape)
    for position, outcome in enumerate(outcomes, shard.start):
      if outcome.decoded:
        file.write(np.ascontiguousarray(outcome.decoded.pixels))
        labels.append(outcome.label)
        counts.add(outcome)
      else:
        refused.append([position, outcome.name, outcome.reason])
    file.seek(0)
    _write_header(file, len(labels), shape)
  with _whole(shard.path("labels")) as file:
    np.save(file, np.asarray(labels, np.int32))
  facts = {
    "start": shard.start,
    "stop": shard.stop,
    "count": len(labels),
    "files": [_facts_of(shard.path(kind)) for kind in ("images", "labels")],
    "unreadable": refused,
    "statistics": counts.to_json(),
  }
  write_json(shard.path("shard"), facts)
  return facts


def _write_header(file, count, shape):
  """Of an .npy file; NumPy leaves room in it for any count, so that it can be written again."""
  np.lib.format.write_array_header_1_0(
    file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
  )


def finished(shard):
  """The facts of a shard that is written, or None."""
  try:
    facts = json.loads(shard.path("shard").read_text())
    whole = all(
      (shard.folder / file["name"]).stat().st_size == file["bytes"] for file in facts["files"]
    )
    return facts if whole and (facts["start"], facts["stop"]) == (shard.start, shard.stop) else None
  except (OSError, ValueError, KeyError, TypeError):
    return None  # It is made again.


def write_json(path, content):
  with _whole(path) as file:
    file.write((json.dumps(content, indent=1) + "\n").encode())


def checksum(path):
  """SHA-256 of a file."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while block := file.read(2**20):
      digest.update(block)
  return digest.hexdigest()


def _facts_of(path):
  return {"name": path.name, "bytes": path.stat().st_size, "sha256": checksum(path)}


@contextlib.contextmanager
def _whole(path):
  """A binary file that is renamed to `path` once it is written and on the disk.

  Its temporary name is always the same: what a killed process left, the next one overwrites.
  """
  temporary = path.with_name(f".{path.name}.part")
  try:
    with open(temporary, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
