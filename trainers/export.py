"""Exports samplers for TensorFlow Serving: python -m trainers.export --model_dir=DIR [--upsampler_dir=DIR]

Writes saved_models/NAME/VERSION/, with signatures for each sampler; `serving_default` is the first. With
--upsampler_dir the servable is the chain of both models: seeds and labels in, enlarged images out. Beside it, once, what
a server needs: models.config, batching, monitoring, a compose file, a Kubernetes manifest and a page that explains them.
"""

import dataclasses
import json
import pathlib
import sys

from iddpm_tf import __version__
from iddpm_tf import settings
from iddpm_tf.models import model_dir
from iddpm_tf.models import two_stage as chain
from trainers.cli import command
from trainers.cli import signals

_MOST_IMAGES = 64  # As batching_parameters.txt has it.


@dataclasses.dataclass(frozen=True)
class Options(chain.UpsamplerOptions, model_dir.EnsembleOptions):
  output_dir: str = settings.setting("saved_models", "where servables go")
  name: str | None = settings.setting(None, "of the servable; unset: the model folder's")
  version: int = settings.setting(0, "of the servable; 0: the next one")
  png: bool = settings.setting(True, "a signature png_NAME of each sampler, of PNG files")
  trajectory: int = settings.setting(
    0, "frames of a signature NAME_trajectory of each sampler, from noise to the image; 0: none"
  )
  warmup: tuple[int, ...] = settings.setting(
    (1,),
    "numbers of images of the requests that a server replays before a version answers; empty: none",
  )
  compute: str | None = settings.setting(
    None,
    "arithmetic of the network; unset: as it was trained",
    choices=("float32", "mixed_bfloat16"),
  )
  verify: bool = settings.setting(
    False, "load it again and compare its images with the model's before it is put in place"
  )

  def __post_init__(self):
    super().__post_init__()
    for name in ("name", "output_dir"):
      settings.require(getattr(self, name) != "", name, "one", getattr(self, name))
    settings.require(self.version >= 0, "version", "a number of at least 0", self.version)
    settings.require(
      self.trajectory == 0 or self.trajectory > 1,
      "trajectory",
      "0, or 2 frames or more",
      self.trajectory,
    )
    settings.require(
      all(0 < count <= _MOST_IMAGES for count in self.warmup),
      "warmup",
      f"numbers from 1 to {_MOST_IMAGES}, which a server takes at once",
      self.warmup,
    )


def main(options, flag_values):
  config = _computed(model_dir.trained_config(options, flag_values), options)
  upsampler_config = chain.upsampler_config(options, config)
  upsampler_config = upsampler_config and _computed(upsampler_config, options)
  command.load_tensorflow()
  from iddpm_tf.models import image_sampler
  from iddpm_tf.models import seeds as samples
  from iddpm_tf.models import trained_model
  from iddpm_tf.serving import deployment
  from iddpm_tf.serving import servable

  specs = samples.require_samplers(config)
  name = options.name or pathlib.Path(options.model_dir).resolve().name
  version = options.version or None
  folder = pathlib.Path(options.output_dir) / name
  deployment.require_name(name)
  deployment.require_models_config(options.output_dir)
  servable.require_new(folder, version)
  model = trained_model.load_chosen(config, options)
  samplers = [
    image_sampler.ImageSampler(config, model.network, spec, ends=model.sampler_ends)
    for spec in specs
  ]
  made_from = {
    "training_step": model.step,
    "ema": model.ema,
    "version": __version__,
    "compute": config.network.precision,
  }
  if model.ends:
    made_from |= {
      "ensemble_training_step": model.ends.step,
      "ensemble_ema": model.ends.ema,
      "ensemble_steps": model.end_steps,
    }
  assets = {"config.json": config.to_json()}
  if upsampler_config:
    (spec,) = samples.require_samplers(upsampler_config, "upsampler_sampler")
    upsampler = trained_model.load(
      options.upsampler_dir, upsampler_config, options.upsampler_ema, flag="upsampler_ema"
    )
    enlarging = image_sampler.ImageSampler(upsampler_config, upsampler.network, spec)
    samplers = [image_sampler.TwoStageSampler(base, enlarging) for base in samplers]
    made_from |= {"upsampler_training_step": upsampler.step, "upsampler_ema": upsampler.ema}
    assets["upsampler_config.json"] = upsampler_config.to_json()
  command.make_output_dir(folder)
  print(
    f"exporting {model}: {', '.join(map(str, specs))}"
    + (f"; enlarged by {upsampler}: {spec}" if upsampler_config else "")
  )
  try:
    with signals.raised():
      path = servable.export(
        samplers,
        folder,
        version=version,
        assets=assets | {"made_from.json": json.dumps(made_from, indent=2) + "\n"},
        options=servable.Options(options.png, options.trajectory, options.warmup),
        verify_with=samples.example_inputs(config, 10) if options.verify else None,
      )
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}; no version was written")
    return stopped.status
  inputs = {spec.name: spec for spec in samplers[0].input_signature()}
  deployment.write(path, str(specs[0]), inputs, png=options.png)
  verified = ", which draws the images of the model, byte for byte" if options.verify else ""
  print(f"wrote {path}{verified}")
  return 0


def _computed(config, options):
  """`config` with --compute."""
  if options.compute is None:
    return config
  return dataclasses.replace(
    config, network=dataclasses.replace(config.network, precision=options.compute)
  )


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
