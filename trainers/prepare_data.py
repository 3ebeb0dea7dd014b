"""Prepares records of pictures for training, or inspects data.

  python -m trainers.prepare_data --dataset=folder --data_dir=PICTURES --output_dir=records

Every picture is decoded and, with --image_size, resized once, to uint8 arrays that training maps
into memory: python -m trainers.train --dataset=records --data_dir=records. After an interruption,
the same command continues. With --inspect nothing is prepared: the command says what the data
really holds, such as sizes, ranges, orientations and near-duplicates, and draws 64 images. Records
can be inspected, too, which verifies their checksums.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import inspection
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import signals


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of the command."""

  output_dir: str = settings.required("folder of the records, or, with --inspect, of the report")
  splits: tuple[str, ...] = settings.setting(
    (), "some of train, val and test; unset: those that the data has"
  )
  shard_size: int = settings.setting(0, "pictures per file; 0: as many as make 256 MiB")
  unreadable: str = settings.setting(
    "refuse",
    "whether pictures that cannot be read are an error or left out; they are listed in either case",
    choices=("refuse", "skip"),
  )
  workers: int = settings.setting(0, "threads that decode; 0: one per processor")
  inspect: bool = settings.setting(False, "report what the data holds, and prepare nothing")

  def __post_init__(self) -> None:
    preparation.require_arguments(
      self.splits,
      shard_size=self.shard_size,
      unreadable=self.unreadable,
      workers=self.workers,
    )


def main(options: Options, given: dict[str, Any]) -> int:
  """Prepares or inspects data, and returns the exit status."""
  config = config_lib.Config().with_settings(**given).data
  if sources.needs_tensorflow(config.dataset):
    command.load_tensorflow()
  run = _inspect if options.inspect else _prepare
  try:
    with signals.raised():
      run(options, config)
  except signals.Stopped as stopped:
    rest = (
      "nothing was written"
      if options.inspect
      else f"finished shards are in {options.output_dir}, and the same command continues"
    )
    print(f"stopped by {stopped.signal.name}; {rest}")
    return stopped.status
  return 0


def _prepare(options: Options, config: config_lib.DataConfig) -> None:
  preparation.prepare(
    config,
    options.output_dir,
    splits=options.splits,
    shard_size=options.shard_size,
    unreadable=options.unreadable,
    workers=options.workers,
    progress=progress_lib.Console(),
  )
  print(f"train on the records with --dataset=records --data_dir={options.output_dir}")


def _inspect(options: Options, config: config_lib.DataConfig) -> None:
  reports = inspection.inspect(
    config, splits=options.splits, workers=options.workers, progress=progress_lib.Console()
  )
  for split, report in reports.items():
    print("\n".join(inspection.lines(split, report)))
  for path in inspection.write(reports, options.output_dir):
    print(path)


COMMAND = command.Command(main, Options, __doc__, help_sections=("data",))

if __name__ == "__main__":
  sys.exit(COMMAND.run())
