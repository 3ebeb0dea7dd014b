"""Preparation of records: pictures become uint8 arrays that training maps into memory."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import beam as beam_lib
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.data.records import statistics as statistics_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

SPLITS = ("train", "val", "test")
UNREADABLE = ("refuse", "skip")
UNREADABLE_FILE = "unreadable.txt"
_SHARD_BYTES = 2**28
_MAX_SHARDS = 512  # Each is an open file in training.
_OLD = config_lib.DataConfig.before(5)  # How pictures were read before their oddities were known.


def prepare(
  config: config_lib.DataConfig,
  output_dir: files.PathLike,
  *,
  splits: Sequence[str] = (),
  shard_size: int = 0,
  unreadable: str = "refuse",
  workers: int = 0,
  runner: beam_lib.BeamRunner | None = None,
  progress: progress_lib.Progress | None = None,
) -> dict[str, int]:
  """Makes records of a data set of pictures.

  Every picture is decoded and resized once. Where an earlier call was interrupted or refused
  unreadable pictures, only what is missing is made. Finished records stay unless they are damaged.

  Args:
    config: the configuration of the data: where the pictures are, and what they become.
    output_dir: the folder of the records.
    splits: some of `train`, `val` and `test`; empty: those that the data has.
    shard_size: the number of pictures per file; 0: as many as make 256 MiB.
    unreadable: what happens if pictures cannot be read; `refuse`: an error that lists them; `skip`:
      they are left out. They are listed in either case.
    workers: the number of threads that decode; 0: one per processor.
    runner: where Apache Beam makes the shards, to the same bytes; None: here.
    progress: shows what is done.

  Returns:
    The number of images per split.

  Raises:
    InputError: an argument is wrong, there are no such pictures, some cannot be read, or the folder
      holds something else.
  """
  require_arguments(splits, shard_size=shard_size, unreadable=unreadable, workers=workers)
  if runner is not None:
    beam_lib.require(runner)
  progress = progress or progress_lib.Silent()
  config = _as_begun(config, pathlib.Path(output_dir))
  splits = splits or sources.splits(config)
  listings = {split: sources.open_listing(config, split) for split in splits}
  for split, pictures in listings.items():
    progress.say(_description(split, pictures))
  preparation = Preparation(config, listings, output_dir, shard_size=shard_size, workers=workers)
  files.make_folder(output_dir)
  with preparation.opened(progress):
    if preparation.is_finished:
      progress.say(f"{output_dir} is finished: nothing to do")
      return preparation.counts()
    total, done = preparation.pictures, preparation.finished_pictures
    if done:
      progress.say(f"resuming {output_dir} after {done:,} of {total:,} pictures")
    with progress.bar(total=total, initial=done, unit="picture") as bar:
      if runner is None:
        preparation.make_shards(bar)
      else:
        preparation.make_shards_by_beam(runner, bar)
    for note in preparation.statistics().notes(config.max_value):
      progress.say(f"note: {note}")
    _report_unreadable(preparation.unreadable(), output_dir, unreadable, progress)
    counts = preparation.write_index()
  for split, images in counts.items():
    progress.say(f"{os.path.join(output_dir, split)}: {images:,} images")
  return counts


def require_arguments(
  splits: Sequence[str], *, shard_size: int = 0, unreadable: str = "refuse", workers: int = 0
) -> None:
  """Raises an error unless the arguments of `prepare` are possible.

  Raises:
    InputError: one is not.
  """
  settings.require(
    len(set(splits)) == len(splits) and set(splits) <= set(SPLITS),
    "splits",
    "different ones of train, val and test",
    tuple(splits),
  )
  settings.require(shard_size >= 0, "shard_size", "a number of at least 0", shard_size)
  settings.require(workers >= 0, "workers", "a number of at least 0", workers)
  settings.require(
    unreadable in UNREADABLE, "unreadable", f"one of {', '.join(UNREADABLE)}", unreadable
  )


class Preparation:
  """A folder of records that is being made. An interrupted preparation continues where it was."""

  def __init__(
    self,
    config: config_lib.DataConfig,
    listings: Mapping[str, listing.Listing],
    folder: files.PathLike,
    *,
    shard_size: int = 0,
    workers: int = 0,
  ):
    """Plans the records.

    Args:
      config: the configuration of the data.
      listings: the listing of each split.
      folder: the folder of the records.
      shard_size: the number of pictures per shard; 0: as many as make 256 MiB, or more if there
        would be over 512 shards.
      workers: the number of threads that decode; 0: one per processor.

    Raises:
      InputError: no picture can be read.
    """
    self._config, self._listings, self._workers = config, listings, workers
    self._folder = pathlib.Path(folder)
    first = next(iter(listings.values()))
    channels = sources.known_channels(config, first)
    self._form = decoding.form_of(config, channels or 3)
    decoded, self._first_name = self._first_readable(first)
    if not channels and decoded.is_grey and not self._any_colour():
      self._form = self._form._replace(channels=1)
    self._shape = (*decoded.pixels.shape[:2], self._form.channels)
    shard_size = shard_size or _shard_size(
      max(map(len, listings.values())), int(np.prod(self._shape))
    )
    self._plan: dict[str, Any] = {
      "version": shards_lib.VERSION,
      "dataset": config.dataset,
      "image_size": config.image_size,
      "resize": config.resize,
      "folder_labels": config.folder_labels,
      **{name: getattr(config, name) for name in shards_lib.PIXEL_SETTINGS},
      "image_shape": list(self._shape),
      "num_classes": first.num_classes,
      "class_names": list(first.class_names),
      "shard_size": shard_size,
      "splits": {
        split: {"pictures": len(pictures), "digest": pictures.digest()}
        for split, pictures in listings.items()
      },
    }
    self._shards = {
      split: shards_lib.split_up(self._folder / split, len(pictures), shard_size)
      for split, pictures in listings.items()
    }
    self._facts: dict[shards_lib.Shard, dict[str, Any]] = {}  # Of finished shards.

  @property
  def pictures(self) -> int:
    """The number of pictures of all splits."""
    return sum(map(len, self._listings.values()))

  @property
  def finished_pictures(self) -> int:
    """The number of pictures whose shards are finished."""
    return sum(facts["stop"] - facts["start"] for facts in self._facts.values())

  @property
  def is_finished(self) -> bool:
    """Whether nothing is missing."""
    return (self._folder / shards_lib.INDEX).is_file()

  def counts(self) -> dict[str, int]:
    """Returns the number of images per split of finished records."""
    index = files.read_json(self._folder / shards_lib.INDEX)
    return {split: content["images"] for split, content in index["splits"].items()}

  @contextlib.contextmanager
  def opened(self, progress: progress_lib.Progress) -> Iterator[None]:
    """Locks the folder, which exists, while the block runs, and finds what is done.

    Raises:
      InputError: the folder holds something else or is in use, or the disk is too small.
    """
    with files.held(self._folder):
      self._require_plan()
      if self.is_finished and (damaged := self._damaged()):
        # The index goes first, so that damaged shards never have one, even if this process is
        # killed now.
        (self._folder / shards_lib.INDEX).unlink()
        progress.say(
          f"{self._folder} was finished, but is damaged: {len(damaged)} of its shards or their "
          f"index (the first: {damaged[0]}); these are made again"
        )
      if not self.is_finished:
        self._facts = {
          shard: facts
          for shards in self._shards.values()
          for shard in shards
          if (facts := shards_lib.finished(shard)) and not self._is_repaired(shard, facts)
        }
        self._require_space()
      yield

  def make_shards(self, bar: progress_lib.Bar) -> None:
    """Writes the shards that are missing, and adds each picture to a progress bar.

    Raises:
      InputError: the pictures have several shapes.
    """
    for split, pictures in self._listings.items():
      (self._folder / split).mkdir(exist_ok=True)
      missing = [shard for shard in self._shards[split] if shard not in self._facts]
      # Neighbouring shards are read in one pass, because beginning in the middle may be slow.
      for _, run in itertools.groupby(enumerate(missing), lambda pair: pair[1].number - pair[0]):
        self._make_run(pictures, [shard for _, shard in run], bar)

  def make_shards_by_beam(self, runner: beam_lib.BeamRunner, bar: progress_lib.Bar) -> None:
    """Writes the shards that are missing by Apache Beam, as `make_shards` does.

    Raises:
      InputError: the pictures have several shapes, or the pipeline fails.
    """
    missing = []
    for split in self._listings:
      (self._folder / split).mkdir(exist_ok=True)
      missing += [shard for shard in self._shards[split] if shard not in self._facts]
    data_dir = self._config.data_dir
    if data_dir and "://" not in data_dir:  # Workers have other working folders.
      data_dir = os.path.abspath(data_dir)
    maker = beam_lib.ShardMaker(
      dataclasses.replace(self._config, data_dir=data_dir),
      self._folder.absolute(),
      {split: content["digest"] for split, content in self._plan["splits"].items()},
      self._form,
      self._shape,
      self._first_name,
    )
    self._facts |= zip(missing, beam_lib.make_shards(maker, missing, runner, bar))

  def unreadable(self) -> dict[str, list[list[str]]]:
    """Returns `[name, reason]` of each picture that cannot be read, by split.

    They are also written to SPLIT/unreadable.txt.
    """
    unreadable = {}
    for split, shards in self._shards.items():
      unreadable[split] = [
        [name, reason] for shard in shards for _, name, reason in self._facts[shard]["unreadable"]
      ]
      path = self._folder / split / UNREADABLE_FILE
      if unreadable[split]:
        text = "".join(f"{line}\n" for line in lines(unreadable[split]))
        files.write_text(path, text, sole_writer=True)
      else:
        path.unlink(missing_ok=True)
    return unreadable

  def statistics(self) -> statistics_lib.Statistics:
    """Returns the statistics of the pictures of all splits."""
    total = statistics_lib.Statistics()
    for facts in self._facts.values():
      total.merge(statistics_lib.Statistics.from_json(facts["statistics"]))
    return total

  def write_index(self) -> dict[str, int]:
    """Writes the index, which finishes the records, and returns the number of images per split."""
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
    index = {**self._plan, "splits": splits}
    files.write_json(self._folder / shards_lib.INDEX, index, indent=1, sole_writer=True)
    return {split: content["images"] for split, content in splits.items()}

  def _make_run(
    self, pictures: listing.Listing, run: list[shards_lib.Shard], bar: progress_lib.Bar
  ) -> None:
    """Writes neighbouring shards."""
    positions = pictures.pictures(run[0].start, run[-1].stop)
    with contextlib.closing(decoding.outcomes(positions, self._form, self._workers)) as outcomes:
      for shard in run:
        shard_outcomes = itertools.islice(outcomes, shard.stop - shard.start)
        self._facts[shard] = shards_lib.write(
          shard, _counted(shard_outcomes, bar), self._shape, reference_name=self._first_name
        )

  def _first_readable(self, pictures: listing.Listing) -> tuple[decoding.Decoded, str]:
    """Returns the first picture that can be read, and its name."""
    first = ("", "")  # The name of the first picture, and why it cannot be read.
    for position, picture in enumerate(pictures.pictures(0, len(pictures))):
      try:
        return decoding.decode(picture, self._form), picture.name
      except decoding.UnreadableImage as error:
        if not position:
          first = (picture.name, str(error))
    raise settings.InputError("data_dir", listing.describe_unreadable(pictures, *first))

  def _any_colour(self) -> bool:
    """Returns whether a picture of any split has colour. Where one has, few are read."""
    return any(
      decoding.any_colour(pictures.pictures(0, len(pictures)), self._form, self._workers)
      for pictures in self._listings.values()
    )

  def _require_plan(self) -> None:
    """Writes the plan to an empty folder, or compares it with that of the folder."""
    path = self._folder / shards_lib.PLAN
    if not path.is_file():
      # A killed process may have left a part of a plan.
      if any(not name.endswith(shards_lib.PLAN) for name in os.listdir(self._folder)):
        raise settings.InputError(
          "output_dir",
          f"expected an empty or new folder, or one of records, received {self._folder}",
        )
      files.write_json(path, self._plan, indent=1, sole_writer=True)
      return
    try:
      stored = files.read_json(path)
      older = {name: getattr(_OLD, name) for name in shards_lib.PIXEL_SETTINGS}
      stored = older | stored
      changed = [name for name in self._plan if stored.get(name) != self._plan[name]]
    except (ValueError, TypeError):
      raise settings.InputError(
        path, "expected the plan of records in JSON, received another file"
      ) from None
    if changed:
      name = changed[0]
      difference = (
        "another list of pictures"
        if name == "splits"
        else f"{self._plan[name]} instead of {stored.get(name)}"
      )
      raise settings.InputError(
        "output_dir",
        f"expected a new folder, or the settings and pictures with which {self._folder} was begun, "
        f"received other {name} ({difference})",
      )

  def _damaged(self) -> list[pathlib.Path]:
    """Returns the files of finished records that have another size than the index says."""
    index = self._folder / shards_lib.INDEX
    try:
      splits = files.read_json(index)["splits"]
      listed = {
        shard: content["files"]
        for split, shards in self._shards.items()
        for shard, content in zip(shards, splits[split]["shards"], strict=True)
      }
    except (OSError, ValueError, KeyError, TypeError):
      return [index]
    return [
      shard.path("images")
      for shard, shard_files in listed.items()
      if (shards_lib.finished(shard) or {}).get("files") != shard_files
    ]

  def _is_repaired(self, shard: shards_lib.Shard, facts: dict[str, Any]) -> bool:
    """Returns whether a picture that could not be read can be read now."""
    pictures = self._listings[shard.folder.name]
    unreadable = itertools.chain.from_iterable(
      pictures.pictures(position, position + 1) for position, *_ in facts["unreadable"]
    )
    outcomes = decoding.outcomes(unreadable, self._form, self._workers)
    return any(outcome.decoded for outcome in outcomes)

  def _require_space(self) -> None:
    images = self.pictures - self.finished_pictures
    needed = images * (int(np.prod(self._shape)) + 4)  # Four bytes per label.
    free = shutil.disk_usage(self._folder).free
    if needed > free:
      raise settings.InputError(
        "output_dir",
        f"expected {needed / 1e9:.1f} GB free for the records, found {free / 1e9:.1f} GB in "
        f"{self._folder}",
      )


def _counted(
  outcomes: Iterable[decoding.Outcome], bar: progress_lib.Bar
) -> Iterator[decoding.Outcome]:
  for outcome in outcomes:
    yield outcome
    bar.update()


def lines(unreadable: Iterable[Sequence[str]]) -> list[str]:
  """Returns one line per `[name, reason]`."""
  return [f"{listing.printable(name)}: {reason}" for name, reason in unreadable]


def _as_begun(config: config_lib.DataConfig, folder: pathlib.Path) -> config_lib.DataConfig:
  """Returns the configuration that continues records which an earlier version has begun.

  Their other pictures then have the pixels of that version, too.
  """
  try:
    plan = files.read_json(folder / shards_lib.PLAN)
    old = not any(name in plan for name in shards_lib.PIXEL_SETTINGS)
    channels = config.channels or int(plan["image_shape"][-1])
  except (OSError, ValueError, KeyError, TypeError, IndexError):
    return config  # There is nothing yet, or something else, which is refused later.
  return dataclasses.replace(config.as_before(_OLD), channels=channels) if old else config


def _description(split: str, pictures: listing.Listing) -> str:
  """Returns a line that says what a split holds."""
  classes = f"{pictures.num_classes} classes" if pictures.num_classes else "no labels"
  return "; ".join(
    [f"{split}: {len(pictures):,} pictures of {pictures.name}, {classes}", *pictures.notes()]
  )


def _report_unreadable(
  unreadable: Mapping[str, list[list[str]]],
  output_dir: files.PathLike,
  policy: str,
  progress: progress_lib.Progress,
) -> None:
  """Lists the pictures that cannot be read, and raises an error unless they are to be skipped."""
  listed = [f"{split}/{line}" for split, pictures in unreadable.items() for line in lines(pictures)]
  if not listed:
    return
  progress.say(f"{len(listed)} pictures cannot be read:")
  for line in listed:
    progress.say(line)
  if policy == "refuse":
    raise settings.InputError(
      "unreadable",
      f"expected 'skip', since {len(listed)} pictures cannot be read, the first being {listed[0]}, "
      f"received 'refuse'; all are listed in {output_dir}/SPLIT/{UNREADABLE_FILE}; repair them, or "
      "skip them, and prepare again, which decodes no other picture twice",
    )


def _shard_size(pictures: int, image_bytes: int) -> int:
  return max(1, _SHARD_BYTES // image_bytes, -(-pictures // _MAX_SHARDS))
