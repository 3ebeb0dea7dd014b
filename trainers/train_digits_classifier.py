"""Trains the classifier of the digits whose features score samples: python -m trainers.train_digits_classifier

Writes the weights that are part of the package (`iddpm_tf/evaluation/digits_classifier.npz`), or --output.
"""

import dataclasses
import sys

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options:
  output: str | None = settings.setting(None, "where the weights go; unset: into the package")


def main(options, flag_values):
  del flag_values  # The digits are all there is to it.
  command.load_tensorflow()
  from iddpm_tf.data import sources
  from iddpm_tf.evaluation import digits_classifier

  train, test = (
    sources.load(config_lib.DataConfig(dataset="digits"), split) for split in ("train", "test")
  )
  model = digits_classifier.train(train.images, train.labels)
  for source, split in ((train, "training"), (test, "test")):
    right = digits_classifier.accuracy(model, source.images, source.labels)
    print(f"{right:.1%} of {len(source.images)} {split} images recognised")
  path = options.output or digits_classifier.WEIGHTS
  digits_classifier.save(model, path)
  print(f"wrote {path}")
  return 0


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
