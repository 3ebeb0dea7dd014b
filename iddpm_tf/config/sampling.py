"""The settings of samples."""

import dataclasses
import math

from iddpm_tf import settings
from iddpm_tf.config.sampler_text import sampler_parts

# How much a model's own guidance, and that of a classifier, act on images.
SCALES = ("guidance_scale", "classifier_scale")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """How images are drawn: in training's grids, and by default in the other commands."""

  samplers: tuple[str, ...] = settings.setting(
    ("ancestral:100",),
    "samplers as NAME:STEPS, such as ancestral:250, ddim:50 or dpmpp_2m:10; ancestral alone takes "
    "all steps; numbers of its own may follow, such as eta in ddim:50:0.5, then the spacing of the "
    "timesteps, such as :logsnr; :skip0.2 at the end leaves out the first fifth of the steps",
    changeable=True,
  )
  num_samples: int = settings.setting(100, "images to draw", changeable=True)
  clip_denoised: bool = settings.setting(True, "clip the predicted x_0 to [-1, 1]", changeable=True)
  dynamic_threshold: float = settings.setting(
    0.0,
    "clip each predicted x_0 to this quantile of its absolute values and scale it into [-1, 1], in "
    "place of clip_denoised, such as 0.995 (dynamic thresholding); 0: off",
    changeable=True,
    since=5,
  )
  truncate: bool = settings.setting(
    False,
    "lower each pixel to the next whole level, as the authors' code does, in place of taking the "
    "nearest level; images are then darker by half a level on average",
    changeable=True,
    since=9,
  )
  guidance_scale: float = settings.setting(
    1.0,
    "how much images follow their classes (classifier-free guidance), for a model trained with "
    "label_dropout; 1: as trained, above 1: more, 0: not at all",
    changeable=True,
    since=8,
  )
  guidance_interval: tuple[float, ...] = settings.setting(
    (),
    "smallest and largest noise level, sigma/alpha, at which guidance_scale acts, such as 0.3,5; "
    "unset: all",
    changeable=True,
    since=8,
  )
  classifier_scale: float = settings.setting(
    1.0,
    "how much the gradient of a classifier guides the images, where there is one (classifier_dir)",
    changeable=True,
    since=8,
  )
  consistent: bool = settings.setting(
    False,
    "hold each predicted x_0 of a super-resolution model to the image that it enlarges",
    changeable=True,
    since=2,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_positive(self, "num_samples")
    settings.require(
      0 <= self.dynamic_threshold <= 1,
      "dynamic_threshold",
      "a quantile in (0, 1], or 0 for none",
      self.dynamic_threshold,
    )
    for name in SCALES:
      settings.require(
        math.isfinite(getattr(self, name)), name, "a finite number", getattr(self, name)
      )
    interval = self.guidance_interval
    settings.require(
      not interval or (len(interval) == 2 and 0 <= interval[0] < interval[1]),
      "guidance_interval",
      "two noise levels in increasing order, such as 0.3,5, or nothing",
      interval,
    )
    settings.require(
      self.samplers, "samplers", "one sampler or more, such as ancestral:250,ddim:50", self.samplers
    )
    for text in self.samplers:
      sampler_parts(text)
    settings.require(
      len(set(self.samplers)) == len(self.samplers), "samplers", "each sampler once", self.samplers
    )
