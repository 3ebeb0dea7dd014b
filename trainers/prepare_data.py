"""Makes records: python -m trainers.prepare_data --dataset=folder --data_dir=PICTURES --output_dir=DIR

Every picture is decoded and brought to --image_size once, into uint8 arrays that training maps into memory:
python -m trainers.train --dataset=records --data_dir=DIR. A run that was stopped or killed goes on by the
same command. With --inspect nothing is prepared: it says what the data is like, and draws 64 images of it.
"""

import dataclasses
import sys

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from trainers.cli import command
from trainers.cli import flags

_SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Options:
  output_dir: str | None = settings.setting(
    None, "where the records go, or with --inspect the report; required"
  )
  splits: tuple[str, ...] = settings.setting(
    (), "train, test or both; unset: those that the data has"
  )
  shard_size: int = settings.setting(0, "pictures a file; 0: as many as make 256 MiB")
  unreadable: str = settings.setting(
    "refuse",
    "what to do about pictures that cannot be read, which are listed in either case",
    choices=("refuse", "skip"),
  )
  workers: int = settings.setting(0, "threads that decode; 0: one a processor")
  inspect: bool = settings.setting(False, "say what the data is like instead, records included")

  def __post_init__(self):
    if not self.output_dir:
      raise ValueError("--output_dir: expected a folder, received nothing")
    settings.require(
      sorted(self.splits) == sorted(set(self.splits) & set(_SPLITS)),
      "splits",
      "train, test or train,test",
      self.splits,
    )
    for name in ("shard_size", "workers"):
      settings.require(
        getattr(self, name) >= 0, name, "a number of at least 0", getattr(self, name)
      )


def main(options, flag_values):
  config = flags.override(config_lib.Config(), flag_values, skip=vars(options)).data
  from iddpm_tf.data import sources

  if sources.needs_tensorflow(config.dataset):
    command.load_tensorflow()
  if options.inspect:
    from iddpm_tf.data import inspection as inspecting

    return inspecting.inspect(config, options)
  from trainers import preparing

  return preparing.prepare(config, options)


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
