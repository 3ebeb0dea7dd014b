"""The work of `trainers.prepare_data --inspect`: what data is like, in words, as JSON and as a picture."""

import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np
from PIL import Image

from iddpm_tf.data import crops
from iddpm_tf.data import decoding
from iddpm_tf.data import pictures
from iddpm_tf.data import sources
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import preparation
from iddpm_tf.data.records import reading as records_lib
from iddpm_tf.data.records import shards
from iddpm_tf.data.records import statistics
from iddpm_tf.utils import progress
from trainers.cli import command
from trainers.cli import signals

_DRAWN = 64  # Images in the picture, spread over the split.
_CELL = 64  # Pixels, where images are of several sizes.
_MANY_CLASSES = 20
_MANY_NAMES = 10


class Report(NamedTuple):
  """Of one split."""

  name: str
  pictures: int
  statistics: statistics.Statistics
  class_names: tuple[str, ...]
  num_classes: int
  unreadable: list  # [name, reason].
  ignored: tuple[str, ...]
  drawn: Any  # uint8 [N, H, W, C].


def inspect(config, options):
  """Prints what each split is like, and writes inspection.json and inspection.png (of the first split)."""
  folder = pathlib.Path(options.output_dir)
  try:
    with signals.raised():
      reports = dict(_reports(config, options))
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}: nothing is written")
    return stopped.status
  command.make_output_dir(folder)
  for split, report in reports.items():
    print("\n".join(_lines(split, report)))
  shards.write_json(
    folder / "inspection.json", {split: _json(report) for split, report in reports.items()}
  )
  split, first = next(iter(reports.items()))
  if len(first.drawn):
    pictures.write_png(folder / "inspection.png", pictures.image_grid(first.drawn, columns=8))
    print(f"{folder / 'inspection.png'}: {len(first.drawn)} images, spread over {split}")
  return 0


def _reports(config, options):
  if config.dataset == "records":
    records = records_lib.Records(config)
    for split in options.splits or records.splits:
      yield split, _of_records(records, split)
  else:
    for split in options.splits or sources.splits(config):
      yield split, _of_listing(config, sources.open_listing(config, split), split, options.workers)


def _of_records(records, split):
  """A `Report`; every file's checksum is right."""
  images, _ = records.load(split)
  with progress.bar(total=records.files(split), unit="file", description=split) as bar:
    records.verify(split, bar.update)
  print(f"{split}: all {records.files(split)} files have their checksums")
  return Report(
    "records",
    len(images),
    records.statistics(split),
    records.class_names,
    records.num_classes,
    records.unreadable(split),
    (),
    images[_spread(len(images))],
  )


def _of_listing(config, raw, split, workers):
  """A `Report`; every picture is decoded, and kept only if it is drawn."""
  form = decoding.Form(config.image_size, config.resize, raw.channels)
  counts, unreadable, drawn, wanted = (
    statistics.Statistics(),
    [],
    [],
    set(_spread(len(raw)).tolist()),
  )
  with progress.bar(total=len(raw), unit="picture", description=split) as bar:
    for position, outcome in enumerate(decoding.outcomes(raw.pictures(0, len(raw)), form, workers)):
      if not outcome.decoded:
        unreadable.append([outcome.name, outcome.reason])
      else:
        counts.add(outcome)
        if position in wanted:
          drawn.append(outcome.decoded.pixels)
      bar.update()
  return Report(
    raw.name,
    len(raw),
    counts,
    raw.class_names,
    raw.num_classes,
    unreadable,
    raw.ignored,
    _of_one_size(drawn),
  )


def _spread(count):
  """Up to 64 positions from the first to the last."""
  return np.unique(np.linspace(0, count - 1, min(_DRAWN, count)).astype(int))


def _of_one_size(images):
  if len({image.shape for image in images}) > 1:
    images = [
      crops.centre_crop(
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), _CELL
      )
      for image in images
    ]
  return np.asarray(images)


def _lines(split, report):
  counts = report.statistics
  yield f"{split}: {report.pictures:,} pictures of {report.name}, of which {counts.count:,} can be read"
  if report.name == "records":
    yield "  (sizes, modes and formats are those of the pictures before they were prepared)"
  if counts.count:
    sizes = counts.sizes_in_short()
    yield "  sizes (height x width): " + ", ".join(f"{name} {size}" for name, size in sizes.items())
    yield f"  modes: {_counted(counts.modes)}"
    yield f"  formats: {_counted(counts.formats)}"
    yield f"  labels: {_labels(report)}"
  if counts.named_otherwise:
    yield f"  named as another format: {_named(counts.named_otherwise, counts.examples_named_otherwise)}"
  if report.ignored:
    yield f"  other files, ignored: {_named(len(report.ignored), report.ignored)}"
  yield f"  unreadable: {len(report.unreadable)}"
  yield from (f"    {line}" for line in preparation.lines(report.unreadable))


def _labels(report):
  if not report.num_classes:
    return "none"
  counts = [report.statistics.labels[str(label)] for label in range(report.num_classes)]
  if report.num_classes > _MANY_CLASSES:
    return (
      f"{report.num_classes} classes of {min(counts):,} to {max(counts):,} pictures, "
      f"{np.median(counts):,.0f} in the median"
    )
  names = report.class_names or range(report.num_classes)
  return ", ".join(
    f"{listing.printable(str(name))} {count:,}" for name, count in zip(names, counts)
  )


def _counted(counter):
  return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _named(count, names):
  shown = [*map(listing.printable, names[:_MANY_NAMES]), *(["..."] if count > _MANY_NAMES else [])]
  return f"{count:,} ({', '.join(shown)})"


def _json(report):
  return {
    "name": report.name,
    "pictures": report.pictures,
    "readable": report.statistics.count,
    "num_classes": report.num_classes,
    "class_names": list(report.class_names),
    "sizes_in_short": report.statistics.sizes_in_short(),
    **report.statistics.to_json(),
    "unreadable": report.unreadable,
    "ignored": list(report.ignored),
  }
