"""Exports samplers of a trained model for TensorFlow Serving.

  python -m trainers.export --model_dir=runs/digits --samplers=ancestral:100,ddim:50 --verify

Writes saved_models/NAME/VERSION/ with signatures for each sampler; the first one is
`serving_default`. With --upsampler_dir, the export is the chain of both models: it takes seeds and
labels, and returns enlarged images. The folder above gets, once, what a server needs:
models.config, batching, monitoring, a compose file, a Kubernetes manifest and a page that explains
them.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from iddpm_tf import settings
from iddpm_tf.serving import config as serving_config
from iddpm_tf.serving import layout
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import model_options
from trainers.cli import signals


@dataclasses.dataclass(frozen=True)
class Options(
  serving_config.ServableConfig,
  model_options.UpsamplerOptions,
  model_options.EnsembleOptions,
  model_options.ClassifierOptions,
):
  """Flags of the command."""

  output_dir: str = settings.setting("saved_models", "folder for exported models")
  name: str | None = settings.setting(
    None, "name of the exported model; unset: the model folder's name"
  )
  version: int = settings.setting(0, "version of the exported model; 0: the next one")
  compute: str | None = settings.setting(
    None,
    "arithmetic of the network; unset: as in training",
    choices=("float32", "mixed_bfloat16"),
  )
  verify: bool = settings.setting(
    False, "load the export and compare its images with the model's before it appears"
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    for base in (
      serving_config.ServableConfig,
      model_options.UpsamplerOptions,
      model_options.EnsembleOptions,
    ):
      base.__post_init__(self)
    settings.require(self.output_dir != "", "output_dir", "a folder", self.output_dir)
    settings.require(self.version >= 0, "version", "a number of at least 0", self.version)

  def servable_config(self) -> serving_config.ServableConfig:
    """Returns the signatures and warm-up requests to write."""
    return serving_config.ServableConfig(self.png, self.edit, self.trajectory, self.warmup)


def main(options: Options, given: dict[str, Any]) -> int:
  """Exports the model."""
  config = model_options.model_config(options, given)
  upsampler_config = model_options.upsampler_config(options, config)
  name, version = _name(options), options.version or None
  layout.require_name(name)
  folder = pathlib.Path(options.output_dir) / name
  layout.require_new_version(folder, version)
  files.require_writable(folder)
  command.load_tensorflow()

  progress = progress_lib.Console()
  compute = {"precision": options.compute} if options.compute else {}
  model = model_options.load_model(options, given | compute, progress=progress)
  upsampler = None
  if upsampler_config:
    changes: dict[str, Any] = dict(compute)
    if options.upsampler_sampler:
      changes["samplers"] = (options.upsampler_sampler,)
    upsampler = model_options.load_upsampler(options, changes, progress=progress)
    with settings.renamed({"samplers": "upsampler_sampler"}):
      upsampler.parse_samplers()
  try:
    with signals.raised(), settings.renamed({"path": "output_dir", "upsampler": "upsampler_dir"}):
      written = model.export(
        folder,
        version=version,
        upsampler=upsampler,
        config=options.servable_config(),
        verify=options.verify,
        progress=progress,
      )
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}; no version was written")
    return stopped.status
  verified = ", which draws the images of the model, byte for byte" if options.verify else ""
  print(f"wrote {written}{verified}")
  return 0


def _name(options: Options) -> str:
  if options.name is not None:
    return options.name
  return pathlib.Path(options.model_dir or "").resolve().name


COMMAND = command.Command(
  main,
  Options,
  __doc__,
  help_sections=("sampling",),
  default_source="the model folder",
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
