"""Draws images: python -m trainers.sample --model_dir=DIR [--upsampler_dir=DIR]

Writes a PNG grid and an .npz of `arr_0` (uint8 [N, H, W, C]) and, where the model has classes, `arr_1` (their
labels), for each of --samplers. Image i has seed --seed + i and is the same however many are drawn.

With --upsampler_dir a super-resolution model enlarges what was drawn (Appendix C), and both sizes are
written. A super-resolution model by itself enlarges --base_samples, such as an .npz that this command wrote.
"""

import dataclasses
import sys

from iddpm_tf import settings
from iddpm_tf.models import model_dir
from iddpm_tf.models import two_stage as chain
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options(chain.UpsamplerOptions, model_dir.EnsembleOptions):
  output_dir: str | None = settings.setting(None, "where images go; unset: MODEL_DIR/samples")
  seed: int = settings.setting(0, "of the first image")
  batch_size: int = settings.setting(100, "images at a time")
  labels: tuple[int, ...] = settings.setting((), "classes to go round; unset: all of the model's")
  base_samples: str | None = settings.setting(
    None,
    "for a super-resolution model: an .npz of the images to enlarge (arr_0) and their labels (arr_1)",
  )
  png: bool = settings.setting(False, "also write each image as a PNG file")

  def __post_init__(self):
    super().__post_init__()
    settings.require(self.batch_size > 0, "batch_size", "a positive number", self.batch_size)
    settings.require_seed(self.seed)


def main(options, flag_values):
  config = model_dir.trained_config(options, flag_values)
  upsampler = chain.upsampler_config(options, config)
  _require_labels(options.labels, config)
  _require_base_samples(options, config)
  command.load_tensorflow()
  from iddpm_tf.models import batched_sampling as sampling

  if options.base_samples:
    return sampling.enlarge(config, options, number_given=flag_values["num_samples"].present)
  return sampling.sample(config, options, upsampler)


def _require_labels(labels, config):
  if labels:
    settings.require(config.num_classes, "labels", "none, since the model has no classes", labels)
    settings.require(
      0 <= min(labels) and max(labels) < config.num_classes,
      "labels",
      f"classes from 0 to {config.num_classes - 1}",
      labels,
    )


def _require_base_samples(options, config):
  if config.low_res_shape:
    low, high = (
      "x".join(map(str, shape)) for shape in (config.low_res_shape, config.data.image_shape)
    )
    settings.require(
      options.base_samples,
      "base_samples",
      f"an .npz of {low} images, since this model enlarges them to {high}; or give this folder as "
      "--upsampler_dir, beside the --model_dir of a model that draws them",
      options.base_samples,
    )
  else:
    settings.require(
      not options.base_samples,
      "base_samples",
      "none, since the model draws from noise alone",
      options.base_samples,
    )


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
