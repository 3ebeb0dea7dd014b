"""Pictures of any source to records: shards of uint8 arrays that training maps into memory."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data import decoding
from iddpm_tf.data.readers import listing as listing_lib
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.utils import files

_SHARD_BYTES = 2**28
_MAX_SHARDS = 512  # Each is an open file in training.
UNREADABLE = "unreadable.txt"


class Preparation:
  """Records in the making, in `folder`; a killed one goes on where it was.

  Args:
    config: a `DataConfig`.
    listings: {split: `Listing`}.
    folder: where the records go.
    shard_size: pictures a shard; 0: as many as make 256 MiB, or more where that were over 512 shards.
    workers: threads that decode.

  Raises:
    ValueError: no readable picture, or splits of different shapes.
  """

  def __init__(self, config, listings, folder, *, shard_size=0, workers=None):
    self._listings, self._folder, self._workers = listings, pathlib.Path(folder), workers
    first = next(iter(listings.values()))
    self._form = decoding.Form(config.image_size, config.resize, first.channels)
    self._shape, self._first_name = self._first_shape(first)
    shard_size = shard_size or _shard_size(
      max(map(len, listings.values())), int(np.prod(self._shape))
    )
    self._plan = {
      "version": shards_lib.VERSION,
      "dataset": config.dataset,
      "image_size": config.image_size,
      "resize": config.resize,
      "folder_labels": config.folder_labels,
      "image_shape": list(self._shape),
      "num_classes": first.num_classes,
      "class_names": list(first.class_names),
      "shard_size": shard_size,
      "splits": {
        split: {"pictures": len(raw), "digest": raw.digest()} for split, raw in listings.items()
      },
    }
    self._shards = {
      split: shards_lib.all_of(self._folder / split, len(raw), shard_size)
      for split, raw in listings.items()
    }
    self._facts = {}  # Of finished shards.

  @property
  def pictures(self):
    """How many there are in all splits."""
    return sum(map(len, self._listings.values()))

  @property
  def finished_pictures(self):
    return sum(facts["stop"] - facts["start"] for facts in self._facts.values())

  @property
  def is_finished(self):
    return (self._folder / shards_lib.INDEX).is_file()

  @contextlib.contextmanager
  def opened(self):
    """Holds the folder, so that no other process writes there, and finds out what is done.

    Raises:
      ValueError: the folder holds something else or is in use, or the disk is too small.
    """
    with files.held(self._folder):
      self._require_plan()
      if self.is_finished and (damaged := self._damaged()):
        # First: a kill leaves no index over damaged shards.
        (self._folder / shards_lib.INDEX).unlink()
        print(
          f"{self._folder} was finished, but is damaged: {len(damaged)} of its shards or their index "
          f"(the first: {damaged[0]}); these are made again"
        )
      if not self.is_finished:
        self._facts = {
          shard: facts
          for shards in self._shards.values()
          for shard in shards
          if (facts := shards_lib.finished(shard)) and not self._is_mended(shard, facts)
        }
        self._require_space()
      yield self

  def make_shards(self, on_picture):
    """Writes the shards that are missing; calls `on_picture()` after each picture."""
    for split, raw in self._listings.items():
      (self._folder / split).mkdir(exist_ok=True)
      missing = [shard for shard in self._shards[split] if shard not in self._facts]
      # Neighbours are read in one go: to begin in the middle may cost something.
      for _, run in itertools.groupby(enumerate(missing), lambda pair: pair[1].number - pair[0]):
        self._make_run(raw, [shard for _, shard in run], on_picture)

  def _make_run(self, raw, run, on_picture):
    pictures = raw.pictures(run[0].start, run[-1].stop)
    with contextlib.closing(decoding.outcomes(pictures, self._form, self._workers)) as outcomes:
      for shard in run:
        wanted = itertools.islice(outcomes, shard.stop - shard.start)
        self._facts[shard] = shards_lib.write(shard, self._checked(wanted, on_picture), self._shape)

  def _checked(self, outcomes, on_picture):
    for outcome in outcomes:
      if outcome.decoded:
        decoding.require_same_shape(outcome, self._shape, self._first_name)
      yield outcome
      on_picture()

  def unreadable(self):
    """{split: [[name, reason]]}, each also written to SPLIT/unreadable.txt."""
    result = {}
    for split, shards in self._shards.items():
      result[split] = [
        [name, reason] for shard in shards for _, name, reason in self._facts[shard]["unreadable"]
      ]
      path = self._folder / split / UNREADABLE
      if result[split]:
        path.write_text("".join(f"{line}\n" for line in lines(result[split])), encoding="utf-8")
      else:
        path.unlink(missing_ok=True)
    return result

  def write_index(self):
    """Makes the records whole; returns {split: images}."""
    unreadable = self.unreadable()
    splits = {}
    for split, shards in self._shards.items():
      facts = [self._facts[shard] for shard in shards]
      splits[split] = {
        **self._plan["splits"][split],
        "images": sum(fact["count"] for fact in facts),
        "shards": [{"count": fact["count"], "files": fact["files"]} for fact in facts],
        "unreadable": unreadable[split],
      }
    shards_lib.write_json(self._folder / shards_lib.INDEX, {**self._plan, "splits": splits})
    return {split: content["images"] for split, content in splits.items()}

  def _first_shape(self, raw):
    """(H, W, C) of the first picture that can be read, and its name."""
    for picture in raw.pictures(0, len(raw)):
      with contextlib.suppress(decoding.UnreadableImage):
        return decoding.decode(picture, self._form).pixels.shape, picture.name
    raise settings.InputError(
      "data_dir",
      f"expected pictures that can be read, received {len(raw)} of {raw.name}, none of which "
      "can be",
    )

  def _require_plan(self):
    path = self._folder / shards_lib.PLAN
    if not path.is_file():
      if any(
        name for name in os.listdir(self._folder) if not name.startswith(f".{shards_lib.PLAN}")
      ):
        raise settings.InputError(
          "output_dir",
          f"expected an empty or new folder, or one of records, received {self._folder}",
        )
      shards_lib.write_json(path, self._plan)
      return
    try:
      stored = json.loads(path.read_text())
      changed = [name for name in self._plan if stored.get(name) != self._plan[name]]
    except (ValueError, AttributeError):
      raise settings.InputError(path, "expected the plan of records in JSON") from None
    if changed:
      name = changed[0]
      hint = (
        "another list of pictures"
        if name == "splits"
        else f"{self._plan[name]}, not {stored.get(name)}"
      )
      raise settings.InputError(
        "output_dir",
        f"expected a new folder, or the settings and pictures that {self._folder} was "
        f"begun with, received other {name} ({hint})",
      )

  def _damaged(self):
    """What of finished records is not as they were made, by the sizes of their files."""
    index = self._folder / shards_lib.INDEX
    try:
      splits = json.loads(index.read_text())["splits"]
      listed = {
        shard: content["files"]
        for split, shards in self._shards.items()
        for shard, content in zip(shards, splits[split]["shards"], strict=True)
      }
    except (OSError, ValueError, KeyError, TypeError):
      return [index]
    return [
      shard.path("images")
      for shard, files in listed.items()
      if (shards_lib.finished(shard) or {}).get("files") != files
    ]

  def _is_mended(self, shard, facts):
    """Whether a picture that could not be read now can: the user may have copied it again."""
    raw = self._listings[shard.folder.name]
    refused = itertools.chain.from_iterable(
      raw.pictures(at, at + 1) for at, *_ in facts["unreadable"]
    )
    return any(outcome.decoded for outcome in decoding.outcomes(refused, self._form, self._workers))

  def _require_space(self):
    images = self.pictures - self.finished_pictures
    needed = images * (int(np.prod(self._shape)) + 4)
    free = shutil.disk_usage(self._folder).free
    if needed > free:
      raise settings.InputError(
        "output_dir",
        f"expected {needed / 1e9:.1f} GB free for the records, found {free / 1e9:.1f} GB "
        f"in {self._folder}",
      )


def lines(unreadable):
  """One line for each [name, reason]."""
  return [f"{listing_lib.printable(name)}: {reason}" for name, reason in unreadable]


def _shard_size(pictures, image_bytes):
  return max(1, _SHARD_BYTES // image_bytes, -(-pictures // _MAX_SHARDS))
