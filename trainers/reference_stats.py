r"""Writes statistics of real images, with which samples are compared.

  python -m trainers.reference_stats --dataset=cifar10 --features=classify_image_graph_def.pb \
      --output=cifar10.npz

The file has the authors' layout: `mu` and `sigma` are the mean and the covariance of the features,
`mu_s` and `sigma_s` those of the spatial features, and `arr_0` holds --num_images of the images,
for precision and recall and for KID. Appendix A compares with the full training set.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options(evaluation_config.ReferenceConfig):
  """Flags of the command."""

  output: str = settings.required("path of the .npz file to write")
  features: str | None = settings.setting(None, evaluation_config.FEATURES_HELP)

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    super().__post_init__()
    settings.require(
      self.output.endswith(".npz"), "output", "a path that ends with .npz", self.output
    )

  def reference_config(self) -> evaluation_config.ReferenceConfig:
    """Returns which images the statistics are of."""
    names = settings.by_name(evaluation_config.ReferenceConfig)
    return evaluation_config.ReferenceConfig(**{name: getattr(self, name) for name in names})


def main(options: Options, given: dict[str, Any]) -> int:
  """Computes the statistics and writes them."""
  config = config_lib.Config.from_settings(**given).data
  sources.require_data_dir(config)
  files.make_folder(pathlib.Path(options.output).parent, "output")
  command.load_tensorflow()
  from iddpm_tf.evaluation import features
  from iddpm_tf.evaluation import reference_statistics

  progress = progress_lib.Console()
  source = sources.load(config, options.split)
  sources.say_notes(source, progress)
  extractor = features.for_images(options.features, source.images.shape[1:])
  note = features.note_of_default(extractor) if options.features is None else None
  if note:
    progress.say(note)
  reference_statistics.write(
    options.output,
    source,
    extractor,
    config=options.reference_config(),
    progress=progress,
  )
  print(f"wrote {options.output}")
  return 0


COMMAND = command.Command(main, Options, __doc__, help_sections=("data",))

if __name__ == "__main__":
  sys.exit(COMMAND.run())
