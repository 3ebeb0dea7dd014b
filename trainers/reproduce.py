"""Re-runs the paper's studies: python -m trainers.reproduce --experiment=fig1 --scale=small --output_dir=DIR

Trains and measures what an experiment needs and has not yet, shared among experiments, and writes DIR/report.html
(it opens offline) and DIR/report.json. Killed, it goes on by the same command. The small scale takes the embedded
data; cifar10 and imagenet64 take the paper's models (configs/) and --data_dir.
"""

import dataclasses
import pathlib
import sys

from iddpm_tf import settings
from trainers.cli import command

EXPERIMENTS = (
  "fig1",
  "fig2",
  "fig3",
  "fig4",
  "fig5",
  "fig6",
  "fig7",
  "fig8",
  "fig10",
  "fig13",
  "fig15",
  "fig16",
  "fig17",
  "table1",
  "table2",
  "table4",
)
OF_FID = (
  "fig4",
  "fig8",
  "fig10",
  "fig13",
  "fig16",
  "fig17",
  "table4",
)  # Which need --features beyond the small scale.


@dataclasses.dataclass(frozen=True)
class Options:
  experiment: str = settings.setting(
    "all", "a table or a figure of the paper, or all of them", choices=(*EXPERIMENTS, "all")
  )
  scale: str = settings.setting(
    "small", "which data and models", choices=("small", "cifar10", "imagenet64")
  )
  output_dir: str | None = settings.setting(
    None, "folder of models, measurements and the report; required"
  )
  data_dir: str | None = settings.setting(
    None, "where the data of --scale is, as for trainers.train"
  )
  features: str | None = settings.setting(
    None, "whose features FID is of at cifar10 and imagenet64, as for trainers.evaluate"
  )
  seeds: int | None = settings.setting(
    None,
    "models of each kind, by seeds 0, 1 and on; by default those of --scale: 3 of the small one, 1 of the others, "
    "whose claims stay undecided",
  )
  microbatches: int | None = settings.setting(
    None,
    "as for trainers.train, of cifar10 and imagenet64: parts of a batch, one at a time, where a whole one does "
    "not fit in memory",
  )
  workers: int | None = settings.setting(
    None,
    "tasks at the same time, each in a process with its share of the cores and no GPU; by default one for each "
    "core at --scale=small; 1: in this process, with all devices",
  )

  @property
  def needs_fid(self):
    """Whether the experiment compares features of images."""
    return self.experiment in (*OF_FID, "all")


def main(options, flag_values):
  command.require_own_flags_only(
    options, flag_values, "no setting of a model, since --scale has them"
  )
  settings.require(
    options.output_dir, "output_dir", "a folder for the models and the report", options.output_dir
  )
  output = pathlib.Path(options.output_dir)
  settings.require(
    not output.exists() or output.is_dir(), "output_dir", "a folder", options.output_dir
  )
  if options.data_dir is not None:
    settings.require(
      options.scale != "small",
      "data_dir",
      "nothing at --scale=small, whose data is in the package",
      options.data_dir,
    )
    settings.require(
      pathlib.Path(options.data_dir).is_dir(), "data_dir", "a folder with data", options.data_dir
    )
  _require_features(options)
  for name in ("seeds", "microbatches", "workers"):
    value = getattr(options, name)
    settings.require(value is None or value > 0, name, "1 or more", value)
  settings.require(
    options.microbatches is None or options.scale != "small",
    "microbatches",
    "nothing at --scale=small, whose networks are small",
    options.microbatches,
  )
  settings.require(
    pathlib.Path("configs/parts").is_dir(),
    "flagfile",
    "configs/ in the working folder, which is to be the project's root",
    str(pathlib.Path.cwd()),
  )
  command.load_tensorflow()
  from trainers.reproduction import run as reproducing

  return reproducing.reproduce(options, output)


def _require_features(options):
  if options.scale == "small":
    settings.require(
      options.features is None,
      "features",
      "nothing at --scale=small, whose FID is by the digits'",
      options.features,
    )
  elif options.needs_fid:
    settings.require(
      options.features and pathlib.Path(options.features).exists(),
      "features",
      f"the path of the Inception graph or of a SavedModel, for the FID of {options.experiment}",
      options.features,
    )


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
