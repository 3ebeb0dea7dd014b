"""Trains the classifier of the digits, whose features score samples.

  python -m trainers.train_digits_classifier --output=digits_classifier.npz

The package has the weights that this command wrote.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.utils import files
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of the command."""

  output: str | None = settings.setting(
    None, "path of the weights; unset: those of the package are replaced"
  )


def main(options: Options, given: dict[str, Any]) -> int:
  """Trains the classifier and writes its weights."""
  del given  # This command takes no settings of a model.
  if options.output:
    is_npz = options.output.endswith(".npz")
    settings.require(is_npz, "output", "a path that ends with .npz", options.output)
    files.make_folder(pathlib.Path(options.output).parent, "output")
  command.load_tensorflow()
  from iddpm_tf.data import sources
  from iddpm_tf.evaluation import digits_classifier

  data = config_lib.DataConfig(dataset="digits")
  train, test = (sources.load(data, split) for split in ("train", "test"))
  model = digits_classifier.train(np.asarray(train.images), train.labels)
  for source, split in ((train, "training"), (test, "test")):
    accuracy = digits_classifier.accuracy(model, np.asarray(source.images), source.labels)
    print(f"{accuracy:.1%} of {len(source.images)} {split} images are classified correctly")
  path = options.output or digits_classifier.WEIGHTS
  digits_classifier.save(model, path)
  print(f"wrote {path}")
  return 0


COMMAND = command.Command(main, Options, __doc__, sections=(), needs_flags=False)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
