"""Two models in a row (Appendix C): one draws small images, the upsampler enlarges them."""

import dataclasses

from iddpm_tf import settings
from iddpm_tf.models import model_dir


@dataclasses.dataclass(frozen=True)
class UpsamplerOptions:
  """Settings of the commands that take an upsampler."""

  upsampler_dir: str | None = settings.setting(
    None, "folder of a super-resolution model, which enlarges the model's images"
  )
  upsampler_sampler: str | None = settings.setting(
    None, "how it draws: one sampler, as in --samplers; unset: the first of its own"
  )
  upsampler_ema: float | None = settings.setting(
    None, "as --ema, of the upsampler; unset: its first rate"
  )

  def __post_init__(self):
    for name in ("upsampler_sampler", "upsampler_ema"):
      settings.require(
        self.upsampler_dir or getattr(self, name) is None,
        name,
        "nothing without --upsampler_dir",
        getattr(self, name),
      )


def upsampler_config(options, base):
  """The `Config` of `--upsampler_dir`, with one sampler; None without the flag.

  Args:
    options: `UpsamplerOptions`.
    base: the `Config` of the model whose images are enlarged.

  Raises:
    ValueError: it is no super-resolution model, or none for these images and classes.
  """
  if not options.upsampler_dir:
    return None
  config = model_dir.require_config(options.upsampler_dir, "upsampler_dir")
  _require_fit(base, config, options.upsampler_dir)
  sampler = options.upsampler_sampler or config.sampling.samplers[0]
  return dataclasses.replace(
    config, sampling=dataclasses.replace(config.sampling, samplers=(sampler,))
  )


def _require_fit(base, upsampler, folder):
  if base.low_res_shape:
    raise settings.InputError(
      "model_dir",
      "expected a model that draws from noise alone before --upsampler_dir, "
      f"received one that enlarges images of {_size(base.low_res_shape)} itself",
    )
  if not upsampler.low_res_shape:
    raise settings.InputError(
      "upsampler_dir",
      f"expected a super-resolution model (trained with --low_res_size), "
      f"received {folder}, which draws from noise alone",
    )
  if upsampler.low_res_shape != base.data.image_shape:
    raise settings.InputError(
      "upsampler_dir",
      f"expected an upsampler of {_size(base.data.image_shape)}, the model's "
      f"images, received {folder}, which enlarges {_size(upsampler.low_res_shape)}",
    )
  if upsampler.num_classes not in (0, base.num_classes):
    raise settings.InputError(
      "upsampler_dir",
      f"expected the model's {base.num_classes} classes, or none, received "
      f"{folder}, which has {upsampler.num_classes}",
    )


def _size(shape):
  return "x".join(map(str, shape))
