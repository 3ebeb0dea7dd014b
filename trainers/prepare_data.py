"""Prepares records of pictures for training, or inspects data.

  python -m trainers.prepare_data --dataset=folder --data_dir=PICTURES --output_dir=records

Every picture is decoded and, with --image_size, resized once, to uint8 arrays that training maps
into memory: python -m trainers.train --dataset=records --data_dir=records. After an interruption,
the same command continues. With --runner=direct, one process per processor decodes; with other
runners of Apache Beam, many machines do. The files are the same.

With --inspect nothing is prepared: the command says what the data really holds, such as sizes,
ranges, orientations and near-duplicates, and draws 64 images. Records can be inspected, too, which
verifies their checksums.
"""

import dataclasses
import shlex
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import inspection
from iddpm_tf.data import sources
from iddpm_tf.data.records import beam
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
  workers: int = settings.setting(
    0, "threads that decode, or processes of runner=direct; 0: one per processor"
  )
  runner: str = settings.setting(
    "",
    "where Apache Beam makes the files: direct (processes on this machine), or a runner of Beam, "
    "such as FlinkRunner; unset: in threads, without Beam",
  )
  beam_options: str = settings.setting(
    "", "options of Beam and its runner, such as 'flink_master=host:8081 parallelism=64'"
  )
  inspect: bool = settings.setting(False, "report what the data holds, and prepare nothing")

  def __post_init__(self) -> None:
    preparation.require_arguments(
      self.splits,
      shard_size=self.shard_size,
      unreadable=self.unreadable,
      workers=self.workers,
    )
    if self.runner and self.inspect:
      raise settings.InputError("runner", "cannot be combined with --inspect")
    if self.beam_options and not self.runner:
      raise settings.InputError("beam_options", "requires --runner")
    self.beam_runner()

  def beam_runner(self) -> beam.BeamRunner | None:
    """Returns where Apache Beam makes the files, or None without it."""
    if not self.runner:
      return None
    try:
      options = tuple(shlex.split(self.beam_options))
    except ValueError as error:
      message = f"expected options as for a shell, received {self.beam_options!r} ({error})"
      raise settings.InputError("beam_options", message) from None
    return beam.BeamRunner(self.runner, self.workers, options)


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
    runner=options.beam_runner(),
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
