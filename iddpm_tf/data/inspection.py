"""Inspection of data: what it holds, in words, as JSON and as a picture."""

import collections
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np
from PIL import Image

from iddpm_tf import config as config_lib
from iddpm_tf.data import crops
from iddpm_tf.data import decoding
from iddpm_tf.data import duplicates
from iddpm_tf.data import pictures as pictures_lib
from iddpm_tf.data import sources
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import preparation
from iddpm_tf.data.records import reading
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.data.records import statistics as statistics_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

REPORT = "inspection.json"
PICTURE = "inspection.png"
_SHOWN = 64  # The number of images in the picture.
_CELL = 64  # Their height and width in pixels, where they have several sizes.
_LARGEST = 512  # The largest height or width that is kept of a picture.
_MANY_CLASSES = 20
_MANY_NAMES = 10


class Report(NamedTuple):
  """What a split holds.

  Attributes:
    name: the name of the data set.
    pictures: the number of pictures.
    statistics: counts over the pictures that can be read.
    class_names: the names of the classes; empty where they are unknown.
    num_classes: the number of classes; 0: the data has no labels.
    unreadable: `[name, reason]` of each picture that cannot be read.
    ignored: the names of files that are not pictures by their extension.
    layout: a line that says what was taken as which split; empty where that is plain.
    channels: the channels of the images that the pictures become.
    treatment: what is done with oddities: the values of settings by name.
    near_duplicates: the `SPLIT/NAME` of each picture that looks like an earlier one, and that of
      the earlier one; None for records, which are not compared.
    shown: up to 64 images from all over the split, uint8 [N, H, W, C].
  """

  name: str
  pictures: int
  statistics: statistics_lib.Statistics
  class_names: tuple[str, ...]
  num_classes: int
  unreadable: list[list[str]]
  ignored: tuple[str, ...]
  layout: str
  channels: int
  treatment: dict[str, Any]
  near_duplicates: list[tuple[str, str]] | None
  shown: np.ndarray

  @property
  def notes(self) -> list[str]:
    """Lines that a user should read about what the pictures lose."""
    return self.statistics.notes(self.treatment["max_value"])


def inspect(
  config: config_lib.DataConfig,
  *,
  splits: Sequence[str] = (),
  workers: int = 0,
  progress: progress_lib.Progress | None = None,
) -> dict[str, Report]:
  """Reads all of a data set, and returns a report of each split.

  Every picture is decoded. Of records, the checksum of every file is verified instead.

  Args:
    config: the configuration of the data.
    splits: some of `train`, `val` and `test`; empty: those that the data has.
    workers: the number of threads that decode; 0: one per processor.
    progress: shows what is done.

  Raises:
    InputError: an argument is wrong, there is no such data, or records are damaged.
  """
  preparation.require_arguments(splits, workers=workers)
  progress = progress or progress_lib.Silent()
  if records := sources.records_of(config):
    return {split: _of_records(records, split, progress) for split in splits or records.splits}
  reports = {}
  listings = {
    split: sources.open_listing(config, split) for split in splits or sources.splits(config)
  }
  near_duplicates = duplicates.NearDuplicates()
  for split, pictures in listings.items():
    with progress.bar(total=len(pictures), unit="picture", description=split) as bar:
      reports[split] = _of_listing(split, pictures, config, workers, bar, near_duplicates)
  if not any(sources.known_channels(config, pictures) for pictures in listings.values()):
    grey = all(not report.statistics.colours["colour"] for report in reports.values())
    reports = {
      split: report._replace(channels=1 if grey else 3) for split, report in reports.items()
    }
  return reports


def lines(split: str, report: Report) -> Iterator[str]:
  """Yields the lines of text that describe a split."""
  counts = report.statistics
  yield (
    f"{split}: {report.pictures:,} pictures of {report.name}, {counts.count:,} of which can be read"
  )
  if report.layout:
    yield f"  {report.layout}"
  if report.name == "records":
    yield "  (sizes, modes and formats are those of the pictures before they were prepared)"
  if counts.count:
    sizes = counts.sizes_in_short()
    yield "  sizes (height x width): " + ", ".join(f"{name} {size}" for name, size in sizes.items())
    yield f"  modes: {_counted(counts.modes)}"
    yield f"  formats: {_counted(counts.formats)}"
    yield from _oddities(report)
    yield f"  labels: {_labels(report)}"
  if counts.named_otherwise:
    names = _names(counts.examples_named_otherwise, counts.named_otherwise)
    yield f"  named as another format: {counts.named_otherwise:,} ({names})"
  if report.near_duplicates:
    pairs = [f"{name} like {earlier}" for name, earlier in report.near_duplicates]
    yield f"  near-duplicates: {len(pairs):,} ({_names(pairs)})"
  if report.ignored:
    extensions = listing.by_extension(report.ignored)
    advice = listing.advice_on_formats(report.ignored)
    yield f"  other files, ignored: {extensions} ({_names(report.ignored)}){advice}"
  yield f"  unreadable: {len(report.unreadable)}"
  yield from (f"    {line}" for line in preparation.lines(report.unreadable))
  yield from (f"  note: {note}" for note in report.notes)


def to_json(report: Report) -> dict[str, Any]:
  """Returns a report, without its images, as a dictionary for JSON."""
  return {
    "name": report.name,
    "pictures": report.pictures,
    "readable": report.statistics.count,
    "layout": report.layout,
    "num_classes": report.num_classes,
    "class_names": list(report.class_names),
    "channels": report.channels,
    "treatment": report.treatment,
    "sizes_in_short": report.statistics.sizes_in_short(),
    **report.statistics.to_json(),
    "unreadable": report.unreadable,
    "ignored": list(report.ignored),
    "near_duplicates": report.near_duplicates,
    "notes": report.notes,
  }


def picture(report: Report) -> np.ndarray | None:
  """Returns the images of a report in a grid, uint8 [H, W, C], or None if none can be read."""
  if not len(report.shown):
    return None
  return pictures_lib.image_grid(report.shown, columns=8)


def write(reports: Mapping[str, Report], folder: files.PathLike) -> list[pathlib.Path]:
  """Writes the reports as JSON, and the images of the first split as a picture.

  Args:
    reports: the report of each split.
    folder: the folder, which is made if necessary.

  Returns:
    The files that are written: `inspection.json`, and `inspection.png` if images can be read.

  Raises:
    InputError: the folder cannot be made.
  """
  folder = files.make_folder(folder)
  written = [folder / REPORT]
  content = {split: to_json(report) for split, report in reports.items()}
  files.write_json(folder / REPORT, content, indent=1, sole_writer=True)
  image = picture(next(iter(reports.values())))
  if image is not None:
    pictures_lib.write_png(folder / PICTURE, image)
    written.append(folder / PICTURE)
  return written


def _of_records(records: reading.Records, split: str, progress: progress_lib.Progress) -> Report:
  images, _ = records.load(split)
  count = records.verify(split, progress=progress)
  progress.say(f"{split}: all {count} files have their checksums")
  return Report(
    name="records",
    pictures=len(images),
    statistics=records.statistics(split),
    class_names=records.class_names,
    num_classes=records.num_classes,
    unreadable=records.unreadable(split),
    ignored=(),
    layout="",
    channels=records.image_shape[-1],
    treatment=records.treatment,
    near_duplicates=None,
    shown=images[_spread(len(images))],
  )


def _of_listing(
  split: str,
  pictures: listing.Listing,
  config: config_lib.DataConfig,
  workers: int,
  bar: progress_lib.Bar,
  near_duplicates: duplicates.NearDuplicates,
) -> Report:
  """Returns a report of pictures. Only those that are shown are kept in memory."""
  form = decoding.form_of(config, sources.known_channels(config, pictures) or 3)
  statistics, unreadable, shown = statistics_lib.Statistics(), [], []
  positions = set(_spread(len(pictures)).tolist())
  everything = pictures.pictures(0, len(pictures))
  outcomes = decoding.outcomes(everything, form, workers, largest=_LARGEST)
  for position, outcome in enumerate(outcomes):
    if outcome.decoded:
      statistics.add(outcome)
      near_duplicates.add(f"{split}/{outcome.name}", outcome.decoded.pixels)
      if position in positions:
        shown.append(outcome.decoded.pixels)
    else:
      unreadable.append([outcome.name, outcome.reason])
    bar.update()
  return Report(
    name=pictures.name,
    pictures=len(pictures),
    statistics=statistics,
    class_names=pictures.class_names,
    num_classes=pictures.num_classes,
    unreadable=unreadable,
    ignored=pictures.ignored,
    layout=pictures.layout,
    channels=form.channels,
    treatment=_treatment(config),
    near_duplicates=[pair for pair in near_duplicates.pairs if pair[0].startswith(f"{split}/")],
    shown=_of_one_size(shown),
  )


def _spread(count: int) -> np.ndarray:
  """Returns up to 64 positions from the first to the last."""
  return np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).astype(int))


def _of_one_size(images: list[np.ndarray]) -> np.ndarray:
  """Returns images as one array, cropped to squares if they have several sizes."""
  if len({image.shape for image in images}) > 1:
    images = [
      crops.centre_crop(
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image),
        _CELL,
        mode="RGBA" if image.shape[-1] == 4 else "RGB",
      )
      for image in images
    ]
  return np.asarray(images)


def _labels(report: Report) -> str:
  if not report.num_classes:
    return "none"
  counts = [report.statistics.labels[str(label)] for label in range(report.num_classes)]
  if report.num_classes > _MANY_CLASSES:
    return (
      f"{report.num_classes} classes of {min(counts):,} to {max(counts):,} pictures, "
      f"{np.median(counts):,.0f} in the median"
    )
  if not report.class_names:
    return ", ".join(f"{number}: {count:,}" for number, count in enumerate(counts))
  return ", ".join(
    f"{number} {listing.printable(name)}: {count:,}"
    for number, (name, count) in enumerate(zip(report.class_names, counts))
  )


def _oddities(report: Report) -> Iterator[str]:
  """Yields lines on colours, ranges, orientations and transparency."""
  counts, treatment = report.statistics, report.treatment
  if counts.colours:  # Records of earlier versions have not counted them.
    yield f"  channels: {report.channels} ({_counted(counts.colours)})"
  if counts.ranges:
    yield "  values: " + ", ".join(
      f"{low} to {high} in {counts.bits[bits]:,} pictures of {statistics_lib.bits_in_words(bits)}"
      for bits, (low, high) in sorted(counts.ranges.items())
    )
  if counts.orientations:
    what = "turned upright" if treatment["exif_orientation"] else "ignored"
    names = ", ".join(f"{count:,} of {name}" for name, count in sorted(counts.orientations.items()))
    yield f"  EXIF orientations: {names}; {what}"
  if counts.transparent:
    background = treatment["background"]
    what = "ignored" if background == "none" else f"laid over {background}"
    what = "kept" if report.channels == 4 else what
    yield f"  transparent: {counts.transparent:,}; {what}"


def _treatment(config: config_lib.DataConfig) -> dict[str, Any]:
  return {name: getattr(config, name) for name in shards_lib.PIXEL_SETTINGS}


def _counted(counter: collections.Counter[str]) -> str:
  return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _names(names: Sequence[str], count: int = 0) -> str:
  """Returns the first names; there are `count`, or as many as are given."""
  more = max(count, len(names)) > _MANY_NAMES
  return ", ".join([*map(listing.printable, names[:_MANY_NAMES]), *(["..."] if more else [])])
