"""The work of `trainers.prepare_data`."""

import os

from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from iddpm_tf.utils import progress
from trainers.cli import command
from trainers.cli import signals


def prepare(config, options):
  """Makes records, or what is missing of them; the process's exit status."""
  output_dir = options.output_dir
  try:
    with signals.raised():
      return _prepare(config, options)
  except signals.Stopped as stopped:
    print(
      f"stopped by {stopped.signal.name}; finished shards are in {output_dir}, and the same command goes on"
    )
    return stopped.status


def _prepare(config, options):
  splits = options.splits or sources.splits(config)
  listings = {split: sources.open_listing(config, split) for split in splits}
  for split, raw in listings.items():
    print(
      f"{split}: {len(raw):,} pictures of {raw.name}, {_classes(raw)}"
      + (f"; {len(raw.ignored):,} other files are ignored" if raw.ignored else "")
    )
  work = preparation.Preparation(
    config, listings, options.output_dir, shard_size=options.shard_size, workers=options.workers
  )
  command.make_output_dir(options.output_dir)
  with work.opened():
    if work.is_finished:
      print(f"{options.output_dir} is finished: nothing to do")
      return 0
    if work.finished_pictures:
      print(
        f"resuming {options.output_dir} after {work.finished_pictures:,} of {work.pictures:,} pictures"
      )
    with progress.bar(total=work.pictures, initial=work.finished_pictures, unit="picture") as bar:
      work.make_shards(bar.update)
    _report_unreadable(work.unreadable(), options)
    for split, images in work.write_index().items():
      print(f"{os.path.join(options.output_dir, split)}: {images:,} images")
  print(f"train on them by --dataset=records --data_dir={options.output_dir}")
  return 0


def _report_unreadable(unreadable, options):
  """Lists what could not be read; `ValueError` unless it is to be skipped."""
  found = [
    f"{split}/{line}"
    for split, of_split in unreadable.items()
    for line in preparation.lines(of_split)
  ]
  if not found:
    return
  print(f"{len(found)} pictures cannot be read:")
  print("\n".join(found))
  if options.unreadable == "refuse":
    raise ValueError(
      f"--unreadable: {len(found)} pictures cannot be read, the first being {found[0]}; all are listed in "
      f"{options.output_dir}/SPLIT/{preparation.UNREADABLE}; mend them, or add --unreadable=skip, and run "
      "the same command again, which decodes nothing twice"
    )


def _classes(raw):
  return f"{raw.num_classes} classes" if raw.num_classes else "no labels"
