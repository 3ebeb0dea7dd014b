"""The settings of a run, as frozen dataclasses. Each field holds the one default of its setting.

A model folder's `config.json` holds these fields, and the command line has a flag for each. Nothing
here imports TensorFlow.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import difflib
import json
import math
import os
import re
from typing import Any
from typing import NamedTuple

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.settings import from_json

VERSION = 9  # The version of the layout of config.json.
_CHANGE_KEYS = ("step", "setting", "from", "to")  # How config.json calls the parts of a `Change`.

# Scores of samples.
SCORES = ("fid", "fid_infinity", "sfid", "inception_score", "precision_recall", "kid")
# Scores of a model, and the split of each. In training, `nll` is of the split val if there is
# one beside test.
LIKELIHOODS = {"nll": "test", "nll_train": "train"}
# How a noisy classifier's last activations become values of classes.
POOLS = ("adaptive", "attention", "spatial", "spatial_v2")
# How much a model's own guidance, and that of a classifier, act on images.
SCALES = ("guidance_scale", "classifier_scale")
NEIGHBOURS = (3, 5)  # k of precision and recall (Kynkäänniemi et al., 2019, and Table 4).


class SamplerParts(NamedTuple):
  """The parts of a sampler's text."""

  name: str
  steps: int | None  # None: all of the process.
  values: tuple[float, ...]  # Further values, such as eta of ddim.
  spacing: str  # How the timesteps are spaced; "" is the sampler's own way.
  skipped: float  # The share of skipped steps.


SPACINGS = "uniform, stride, quadratic, sectionsA-B-C, logsnr, rho or rhoNUMBER"
_SPACING = re.compile(
  r"uniform|stride|quadratic|sections[1-9]\d*(-[1-9]\d*)*|logsnr|rho([1-9]\d?(\.\d+)?)?"
)


def is_spacing(text: str) -> bool:
  """Returns whether a text is one of `SPACINGS`; see `diffusion.samplers.spacing`."""
  return _SPACING.fullmatch(text) is not None


def sampler_parts(text: str) -> SamplerParts:
  """Reads `NAME[:STEPS[:VALUE...]][:SPACING][:skipSHARE]`, such as `ddim:50:0.5`.

  Raises:
    InputError: the text has another form, or there is no such sampler.
  """
  name, *rest = text.split(":")
  names = registries.SAMPLERS.names()
  last = rest.pop().removeprefix("skip") if rest and rest[-1].startswith("skip") else "0"
  spacing = rest.pop() if len(rest) > 1 and is_spacing(rest[-1]) else ""
  try:
    parts = SamplerParts(
      name, int(rest[0]) if rest else None, tuple(map(float, rest[1:])), spacing, float(last)
    )
  except ValueError:
    parts = None
  valid = parts and name in names and (parts.steps is None or parts.steps > 0)
  if not parts or not valid or not 0 <= parts.skipped < 1:
    message = (
      f"expected NAME[:STEPS[:NUMBER...]][:SPACING][:skipSHARE] with NAME one of "
      f"{', '.join(names)}, STEPS above 0, SPACING {SPACINGS} and SHARE in [0, 1), received "
      f"{settings.shown(text)}"
    )
    raise settings.InputError("samplers", message)
  return parts


def background_colour(text: str) -> tuple[int, int, int] | None:
  """Returns the colour that transparent pictures are laid over, or None for `none`.

  Raises:
    InputError: the text is something else than white, black, none, or R,G,B.
  """
  named = {"white": (255, 255, 255), "black": (0, 0, 0), "none": None}
  if text in named:
    return named[text]
  parts = [part.strip() for part in text.split(",")]
  if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
    red, green, blue = map(int, parts)
    return red, green, blue
  message = "expected white, black, none, or R,G,B with numbers from 0 to 255"
  raise settings.InputError("background", f"{message}, received {settings.shown(text)}")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """The UNet of Appendix A, or the noisy classifier of Dhariwal & Nichol (2021).

  The defaults, here and in the other sections, train the embedded digits in minutes.
  """

  base_channels: int = settings.setting(32, "channels at the highest resolution (C in Appendix A)")
  channel_multipliers: tuple[float, ...] = settings.setting(
    (1, 2),
    "channels of each level in units of base_channels, highest resolution first, such as 0.5,1,2",
  )
  num_res_blocks: int = settings.setting(
    1, "residual blocks per level on the way down; there is one more on the way up"
  )
  attention_resolutions: tuple[int, ...] = settings.setting(
    (4,), "image heights in pixels at which there is self-attention"
  )
  num_heads: int = settings.setting(4, "attention heads")
  num_heads_upsample: int = settings.setting(0, "attention heads on the way up; 0 means num_heads")
  num_head_channels: int = settings.setting(
    0,
    "channels of each attention head, whose number then depends on the level; 0 means that "
    "num_heads counts",
    since=8,
  )
  attention_order: str = settings.setting(
    "interleaved",
    "order of the channels of queries, keys and values; interleaved: those of the first head, then "
    "those of the second; split: all queries, then all keys, then all values",
    choices=("interleaved", "split"),
    since=8,
  )
  scale_shift_norm: bool = settings.setting(
    True, "condition by GroupNorm(h)(w + 1) + b; otherwise by GroupNorm(h + v)"
  )
  conv_resample: bool = settings.setting(
    True, "learned down- and upsampling; otherwise average pooling and nearest neighbours"
  )
  resblock_updown: bool = settings.setting(
    False,
    "residual blocks halve and double the resolution, in place of what conv_resample says",
    since=8,
  )
  scaled_first_conv: bool = settings.setting(
    False,
    "the first convolution has as many channels as the first level; otherwise base_channels; the "
    "same where channel_multipliers begins with 1",
    since=8,
  )
  dropout: float = settings.setting(0.0, "dropout rate in the residual blocks")
  class_conditional: bool = settings.setting(False, "condition on the class labels of the data")
  label_dropout: float = settings.setting(
    0.0,
    "share of the training images whose label is hidden, such as 0.1, so that guidance_scale can "
    "strengthen the class in sampling; requires class_conditional",
    since=8,
  )
  low_res_size: int = settings.setting(
    0,
    "height of the smaller image that a super-resolution network enlarges (Appendix C); 0 means "
    "that the network draws from noise alone",
    since=2,
  )
  pool: str = settings.setting(
    "none",
    "how a noisy classifier's last activations become values of classes; adaptive: their mean; "
    "attention: attention of their mean to all of them; spatial and spatial_v2: the means of all "
    "blocks in two more layers; none: the network is a diffusion model's",
    choices=("none", *POOLS),
    since=8,
  )
  precision: str = settings.setting(
    "float32",
    "arithmetic of the network; weights are always float32; mixed_float16, with a loss scale, is "
    "for GPUs without bfloat16",
    choices=("float32", "mixed_bfloat16", "mixed_float16"),
    changeable=True,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    settings.require_positive(self, "base_channels", "num_res_blocks", "num_heads")
    settings.require_not_negative(self, "num_heads_upsample", "num_head_channels", "low_res_size")
    settings.require(0 <= self.dropout < 1, "dropout", "a rate in [0, 1)", self.dropout)
    settings.require(
      0 <= self.label_dropout < 1, "label_dropout", "a share in [0, 1)", self.label_dropout
    )
    settings.require(
      self.class_conditional or not self.label_dropout,
      "label_dropout",
      "0 for a model without classes (class_conditional=False)",
      self.label_dropout,
    )
    settings.require(
      self.channel_multipliers and all(0 < m < math.inf for m in self.channel_multipliers),
      "channel_multipliers",
      "one positive number or more",
      self.channel_multipliers,
    )
    # Whole numbers are shown without a point.
    multipliers = tuple(int(m) if m == int(m) else m for m in self.channel_multipliers)
    object.__setattr__(self, "channel_multipliers", multipliers)
    settings.require(
      self.scaled_first_conv or self.base_channels % 32 == 0,
      "base_channels",
      "a multiple of 32, because group normalisation has 32 groups",
      self.base_channels,
    )
    settings.require(
      all(width and width % 32 == 0 for width in self.widths),
      "channel_multipliers",
      f"multiples of 32 channels at every level, because group normalisation has 32 groups, where "
      f"base_channels={self.base_channels}",
      self.channel_multipliers,
    )
    if self.num_head_channels:
      self.require_heads(self.widths[-1])  # There is always attention in the middle.
      return
    for name in ("num_heads", "num_heads_upsample"):
      heads = getattr(self, name) or 1
      settings.require(
        all(width % heads == 0 for width in self.widths),
        name,
        "a divisor of the channels of every level",
        heads,
      )

  def require_heads(self, width: int) -> None:
    """Raises an `InputError` if attention heads do not divide the channels of a level."""
    settings.require(
      not self.num_head_channels or width % self.num_head_channels == 0,
      "num_head_channels",
      f"a divisor of the {width} channels of a level with attention",
      self.num_head_channels,
    )

  @property
  def widths(self) -> tuple[int, ...]:
    """The channels of each level, highest resolution first."""
    return tuple(int(self.base_channels * m) for m in self.channel_multipliers)

  @property
  def depth(self) -> int:
    """The number of times that the image is halved."""
    return len(self.channel_multipliers) - 1


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
  """The noising process, what the network predicts, and the objective (sections 2 and 3)."""

  diffusion_steps: int = settings.setting(1000, "T, the number of noising steps")
  noise_schedule: str = settings.setting(
    "cosine", "schedule of the noise", choices=registries.NOISE_SCHEDULES
  )
  mean_type: str = settings.setting(
    "eps", "what the network predicts for the mean", choices=("eps", "x_start", "x_prev")
  )
  variance_type: str = settings.setting(
    "learned_range",
    "variance of the reverse process; learned_range is Eq. 15",
    choices=("fixed_small", "fixed_large", "learned", "learned_range"),
  )
  objective: str = settings.setting(
    "hybrid", "loss to minimise: L_simple, L_vlb or L_hybrid", choices=("simple", "vlb", "hybrid")
  )
  vlb_weight: float | None = settings.setting(
    None, "weight of L_vlb in the objective; unset: 0.001 for hybrid (lambda), 1 for vlb"
  )
  decoder: str = settings.setting(
    "exact",
    "Gaussian CDF in L_0; tanh is the authors' approximation, for comparison with their numbers",
    choices=("exact", "tanh"),
  )
  rescale_timesteps: bool = settings.setting(
    True, "scale the timesteps that the network sees to 0..1000; otherwise the network sees t"
  )
  timestep_sampler: str = settings.setting(
    "uniform",
    "how training draws t; loss_second_moment is the importance sampling of Eq. 18",
    choices=("uniform", "loss_second_moment"),
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    settings.require_positive(self, "diffusion_steps")
    settings.require(
      self.noise_schedule != "linear" or self.diffusion_steps > 20,
      "diffusion_steps",
      "more than 20 for the linear schedule (its last beta is 0.02 * 1000 / T, below 1)",
      self.diffusion_steps,
    )
    if self.objective == "simple":
      settings.require(
        not self.learns_variance,
        "variance_type",
        "fixed_small or fixed_large for objective=simple, which trains no variance",
        self.variance_type,
      )
      settings.require(
        self.vlb_weight is None, "vlb_weight", "no value for objective=simple", self.vlb_weight
      )
    if self.objective == "hybrid":
      settings.require(
        self.learns_variance,
        "variance_type",
        "learned or learned_range for objective=hybrid",
        self.variance_type,
      )
    settings.require(
      self.vlb_weight is None or 0 < self.vlb_weight < math.inf,
      "vlb_weight",
      "a positive number",
      self.vlb_weight,
    )

  @property
  def learns_variance(self) -> bool:
    """Whether the network's output has values for the variance."""
    return self.variance_type in ("learned", "learned_range")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The source of the images."""

  dataset: str = settings.setting(
    "digits",
    "digits or photos (both are in the package); records (made by prepare_data); folder (of "
    "pictures); imagenet_npz (the official batches); lsun (an LMDB); or the name of a TFDS data "
    "set with images",
    changeable=True,
  )
  data_dir: str | None = settings.setting(
    None, "folder of the data; unset: TFDS's own folder", changeable=True
  )
  download: bool = settings.setting(
    True,
    "let TFDS download and prepare a data set that is not in data_dir",
    changeable=True,
    since=4,
  )
  image_size: int = settings.setting(
    0, "height and width to bring the images to; 0 keeps their size", since=2
  )
  resize: str = settings.setting(
    "bicubic",
    "method of resizing; bicubic: the authors' (halved while twice the size, then bicubic, then "
    "cropped); area: cropped, then averaged, as for class-conditional ImageNet",
    choices=("bicubic", "area"),
    changeable=True,
    since=2,
  )
  folder_labels: str = settings.setting(
    "subfolders",
    "labels of a folder of pictures: the names of its sub-folders, the file names up to the first "
    "underscore, or none",
    choices=("subfolders", "prefix", "none"),
    changeable=True,
    since=2,
  )
  folder_splits: str = settings.setting(
    "usual",
    "sub-folders of a folder of pictures that are its splits: usual: train or training, val, valid "
    "or validation, test or testing, in upper or lower case; lowercase: train and test (or val, or "
    "validation), as earlier versions did; none: all sub-folders are classes",
    choices=("usual", "lowercase", "none"),
    changeable=True,
    since=5,
    old="lowercase",
  )
  class_order: str = settings.setting(
    "natural",
    "order of class names, which numbers the classes; natural: 1, 2, 10, if all names are numbers; "
    "alphabetical: 1, 10, 2, as in the authors' code",
    choices=("natural", "alphabetical"),
    changeable=True,
    since=5,
    old="alphabetical",
  )
  extensions: tuple[str, ...] = settings.setting(
    ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp"),
    "extensions of the files in a folder that are pictures, in upper or lower case",
    changeable=True,
    since=5,
    old=("png", "jpg", "jpeg", "webp", "gif"),
  )
  test_share: float = settings.setting(
    0.0,
    "share of the pictures of a folder without a test split that is held out as its test split, "
    "such as 0.1; names decide which",
    since=5,
  )
  channels: int = settings.setting(
    0,
    "channels of the images: 1 for grey, 3 for RGB, 4 for RGB and transparency; 0: as the pictures "
    "are, which is 1 where all of them are grey, otherwise 3",
    changeable=True,
    since=5,
  )
  exif_orientation: bool = settings.setting(
    True,
    "turn pictures upright, as their EXIF orientation says and viewers show them; the authors' "
    "code ignores it",
    changeable=True,
    since=5,
    old=False,
  )
  background: str = settings.setting(
    "white",
    "colour that transparent pictures are laid over: white, black, or R,G,B such as 255,0,0; none "
    "ignores transparency, as the authors' code does",
    changeable=True,
    since=5,
    old="none",
  )
  max_value: int = settings.setting(
    0,
    "value of pictures of 16 bits that becomes white, such as 4095; 0: 65535, of which the upper "
    "8 bits are taken",
    changeable=True,
    since=5,
  )
  random_flip: bool = settings.setting(False, "mirror half of the training images")
  image_shape: tuple[int, ...] = settings.recorded(())  # Height, width, channels.
  num_classes: int = settings.recorded(0)  # 0: the data has no labels.
  # By number; empty where they are unknown.
  class_names: tuple[str, ...] = settings.recorded((), changeable=True, since=5)

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require(
      len(self.image_shape) in (0, 3) and all(size > 0 for size in self.image_shape),
      "image_shape",
      "height, width and channels",
      self.image_shape,
    )
    settings.require_choices(self)
    settings.require_not_negative(self, "num_classes", "image_size")
    settings.require(self.channels in (0, 1, 3, 4), "channels", "0, 1, 3 or 4", self.channels)
    settings.require(
      0 <= self.max_value < 2**16, "max_value", "a number from 0 to 65535", self.max_value
    )
    background_colour(self.background)
    settings.require(
      self.extensions and all(name.isalnum() for name in self.extensions),
      "extensions",
      "one extension or more, without dots, such as png,jpg",
      self.extensions,
    )
    settings.require(0 <= self.test_share < 1, "test_share", "a share in [0, 1)", self.test_share)
    settings.require(
      len(self.class_names) in (0, self.num_classes),
      "class_names",
      f"{self.num_classes} names, one per class, or none",
      self.class_names,
    )

  def as_before(self, earlier: "DataConfig") -> "DataConfig":
    """Returns a copy that treats pictures as an earlier configuration did, unless told otherwise.

    Where this package once did something else than it now does by default, and the earlier
    configuration is of that time, a default value gives way. It may not have been given.
    """
    values = {}
    for field in dataclasses.fields(self):
      old = field.metadata["old"]
      if old != field.default == getattr(self, field.name) and getattr(earlier, field.name) == old:
        values[field.name] = old
    return dataclasses.replace(self, **values)

  @classmethod
  def before(cls, version: int) -> "DataConfig":
    """Returns the configuration that stands for what versions before `version` did."""
    fields = [field for field in dataclasses.fields(cls) if field.metadata["since"] >= version]
    return cls(**{field.name: field.metadata["old"] for field in fields})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """The optimisation, and how often training is saved and measured."""

  train_steps: int = settings.setting(
    1500, "steps in all; a larger number continues a finished run", changeable=True
  )
  batch_size: int = settings.setting(
    128, "images per step, summed over all replicas", changeable=True
  )
  microbatches: int = settings.setting(
    1,
    "parts of each replica's images whose gradients are computed one after the other, to save "
    "memory, and averaged",
    changeable=True,
    since=3,
  )
  max_examples: int = settings.setting(
    0,
    "training images to use, evenly spaced in their order; few of them show whether a model "
    "overfits; 0: all",
    changeable=True,
    since=9,
  )
  remat: bool = settings.setting(
    False,
    "compute the activations of each block of the network again in the backward pass, to save "
    "memory; takes a third more time",
    changeable=True,
    since=6,
  )
  learning_rate: float = settings.setting(1e-3, "learning rate of AdamW", changeable=True)
  warmup_steps: int = settings.setting(
    0, "steps of linear warm-up of the learning rate", changeable=True
  )
  decay_steps: int = settings.setting(
    0, "step at which the learning rate has fallen linearly to 0; 0 means never", changeable=True
  )
  weight_decay: float = settings.setting(0.0, "decoupled weight decay of AdamW", changeable=True)
  ema: tuple[float, ...] = settings.setting(
    (0.995,), "rates of the moving averages of the weights", extendable=True
  )
  seed: int = settings.setting(0, "seed of the weights, the order of the data and all noise")
  steps_per_call: int = settings.setting(
    10, "training steps per call of the graph", changeable=True
  )
  log_every: int = settings.setting(100, "steps between TensorBoard scalars", changeable=True)
  sample_every: int = settings.setting(
    0, "steps between sample grids; 0 draws one only at the end", changeable=True
  )
  profile_steps: tuple[int, ...] = settings.setting(
    (),
    "the first and the last step that TensorBoard's profiler records, such as 101,110; unset: none",
    changeable=True,
    since=7,
  )
  save_every: int = settings.setting(500, "steps between checkpoints", changeable=True)
  keep_checkpoints: int = settings.setting(3, "newest checkpoints to keep", changeable=True)
  keep_every: int = settings.setting(
    0,
    "also keep checkpoints whose step is a multiple of this; 0: keep only the newest",
    changeable=True,
    since=7,
  )
  max_grad_norm_ratio: float = settings.setting(
    1000.0,
    "skip a step whose gradient has a norm above this many times the median of the last 128 steps; "
    "0: skip only steps that are not finite",
    changeable=True,
    since=7,
  )
  max_skipped_steps: int = settings.setting(
    10,
    "skipped steps in a row after which training goes back to the last checkpoint with other noise",
    changeable=True,
    since=7,
  )
  max_restarts: int = settings.setting(
    3,
    "times in a row that training goes back to the same checkpoint before it stops with an error",
    changeable=True,
    since=7,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_positive(
      self,
      "train_steps",
      "batch_size",
      "microbatches",
      "learning_rate",
      "steps_per_call",
      "log_every",
      "save_every",
      "keep_checkpoints",
      "max_skipped_steps",
    )
    settings.require(
      self.batch_size % self.microbatches == 0,
      "microbatches",
      f"a divisor of batch_size={self.batch_size}",
      self.microbatches,
    )
    settings.require_not_negative(
      self,
      "warmup_steps",
      "decay_steps",
      "weight_decay",
      "sample_every",
      "keep_every",
      "max_examples",
      "max_grad_norm_ratio",
      "max_restarts",
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps > self.warmup_steps,
      "decay_steps",
      f"0, or more than warmup_steps={self.warmup_steps}",
      self.decay_steps,
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps >= self.train_steps,
      "decay_steps",
      f"0, or at least train_steps={self.train_steps}, because the learning rate is 0 from then on",
      self.decay_steps,
    )
    settings.require_seed(self.seed)
    settings.require(
      not self.profile_steps
      or (len(self.profile_steps) == 2 and 0 < self.profile_steps[0] <= self.profile_steps[1]),
      "profile_steps",
      "the first and the last step, such as 101,110",
      self.profile_steps,
    )
    settings.require(
      len(set(self.ema)) == len(self.ema) and all(0 < rate < 1 for rate in self.ema),
      "ema",
      "distinct rates between 0 and 1",
      self.ema,
    )


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


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Scores of each moving average during training (Appendices F and G)."""

  eval_every: int = settings.setting(
    0,
    "steps between evaluations of the averaged weights, or of a classifier; 0 means none",
    changeable=True,
    since=3,
  )
  eval_scores: tuple[str, ...] = settings.setting(
    ("fid",), f"scores to compute: {', '.join((*LIKELIHOODS, *SCORES))}", changeable=True, since=3
  )
  eval_samples: int = settings.setting(
    1000, "images to draw by the first sampler for scores of samples", changeable=True, since=3
  )
  eval_examples: int = settings.setting(
    100,
    "images of the test split (or val, if there are both) for nll and for a classifier's accuracy, "
    "and of the training split for nll_train; 0 means all",
    changeable=True,
    since=3,
  )
  eval_nll_steps: int = settings.setting(
    100,
    "K timesteps for nll and nll_train, with every t up to T/K (Appendix E); 0 means all",
    changeable=True,
    since=3,
  )
  eval_features: str | None = settings.setting(
    None,
    "feature extractor for scores of samples: digits, random, the path of the Inception graph, or "
    "the folder of a SavedModel; unset: digits for 8x8 images in one channel, otherwise random",
    changeable=True,
    since=3,
  )
  eval_reference: str | None = settings.setting(
    None,
    "statistics of real images, made by reference_stats; unset: the training images",
    changeable=True,
    since=3,
  )
  best_score: str | None = settings.setting(
    None,
    "keep the best checkpoint by this score, such as fid, nll or recall_k3",
    changeable=True,
    since=3,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_not_negative(self, "eval_every", "eval_examples", "eval_nll_steps")
    settings.require_positive(self, "eval_samples")
    kinds = (*LIKELIHOODS, *SCORES)
    settings.require(
      self.eval_scores
      and len(set(self.eval_scores)) == len(self.eval_scores)
      and set(self.eval_scores) <= set(kinds),
      "eval_scores",
      f"distinct names of {', '.join(kinds)}",
      self.eval_scores,
    )
    settings.require(
      self.best_score is None or self.best_score in self.score_names,
      "best_score",
      f"a score that eval_scores computes: {', '.join(self.score_names)}",
      self.best_score,
    )

  @property
  def score_names(self) -> tuple[str, ...]:
    """The names of the scores in results."""
    names = []
    for score in self.eval_scores:
      if score == "precision_recall":
        names += [f"{part}_k{k}" for k in NEIGHBOURS for part in ("precision", "recall")]
      else:
        names.append(score)
    return tuple(names)


class Change(NamedTuple):
  """A setting that has changed when a run was resumed."""

  step: int  # The last step with the old value.
  setting: str
  old: Any
  new: Any


@dataclasses.dataclass(frozen=True)
class Config:
  """The settings of a run, in sections, and their history: what `config.json` holds.

  ```python
  Config.from_settings(dataset="cifar10", batch_size=64)
  Config.from_flagfile("configs/digits.flags", train_steps=2000)
  ```
  """

  network: NetworkConfig = NetworkConfig()
  diffusion: DiffusionConfig = DiffusionConfig()
  data: DataConfig = DataConfig()
  training: TrainingConfig = TrainingConfig()
  sampling: SamplingConfig = SamplingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  history: tuple[Change, ...] = ()

  def __post_init__(self) -> None:
    """Checks the sections, and the network against the data once the shape of images is known."""
    for name, kind in sections().items():
      section = getattr(self, name)
      expected = f"a {kind.__name__}; Config.from_settings takes settings by their names"
      settings.require(isinstance(section, kind), name, expected, section)
    if self.is_classifier:
      self._require_classifier()
    if self.data.image_shape:
      self._require_fit()

  @classmethod
  def from_settings(cls, **values: Any) -> "Config":
    """Returns a configuration of settings by their names. Others have their defaults.

    Raises:
      InputError: an unknown name, or a value of the wrong type or range.
    """
    return cls().with_settings(**values)

  @classmethod
  def from_flagfile(cls, path: str | os.PathLike[str], **values: Any) -> "Config":
    """Returns the configuration of a flagfile.

    Args:
      path: a flagfile. If there is no such file, one that is installed with the package is used,
        such as `configs/cifar10.flags`.
      **values: settings that override those of the file.

    Raises:
      InputError: no such file, a line that is not a flag, or a wrong setting.
    """
    from iddpm_tf.settings import arguments
    from iddpm_tf.settings import flagfile

    known = settings.by_name(*sections().values())
    given = arguments.parse(flagfile.read(path), known)
    return cls().with_settings(**(given | values))

  @classmethod
  def from_json(cls, text: str) -> "Config":
    """Returns the configuration that `to_json` wrote, of this or of an earlier version.

    Raises:
      InputError: the text is something else.
    """
    try:
      content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
      raise settings.InputError("config", f"expected JSON, received other text ({error})") from None
    except TypeError:
      raise settings.InputError("config", f"expected JSON, received {text!r}") from None
    version = content.pop("version", None) if isinstance(content, dict) else None
    if not isinstance(version, int) or not 1 <= version <= VERSION:
      message = f"expected a configuration of version 1 to {VERSION}, received version {version!r}"
      raise settings.InputError("config", message)
    parts = {
      name: from_json.read(section, content.pop(name, None), version)
      for name, section in sections().items()
    }
    history = _read_history(content.pop("history", [])) if version >= 5 else ()
    from_json.require_empty(content, "sections")
    return cls(**parts, history=history)

  def to_json(self) -> str:
    """Returns the configuration as JSON, with its version."""
    content: dict[str, Any] = {"version": VERSION}
    content |= {name: dataclasses.asdict(getattr(self, name)) for name in sections()}
    content["history"] = [dict(zip(_CHANGE_KEYS, change)) for change in self.history]
    return json.dumps(content, indent=2) + "\n"

  def with_settings(self, **values: Any) -> "Config":
    """Returns a copy with other values for some settings.

    Raises:
      InputError: an unknown name, or a value of the wrong type or range.
    """
    parts = {}
    for section, dataclass in sections().items():
      names = {field.name for field in dataclasses.fields(dataclass)}
      given = {name: values.pop(name) for name in names & values.keys()}
      for name, value in given.items():
        settings.require_local(name, value)
      parts[section] = dataclasses.replace(getattr(self, section), **given)
    for name in values:
      raise _unknown_setting(name)
    return dataclasses.replace(self, **parts)

  def with_data(
    self,
    *,
    image_shape: tuple[int, ...],
    num_classes: int,
    class_names: tuple[str, ...] = (),
  ) -> "Config":
    """Returns a copy that knows the images.

    Args:
      image_shape: (H, W, C).
      num_classes: the number of their classes; 0: they have no labels.
      class_names: the names of the classes; empty if they are unknown.

    Raises:
      InputError: the network does not fit the images, or there are too few or too many names.
    """
    data = dataclasses.replace(
      self.data, image_shape=image_shape, num_classes=num_classes, class_names=class_names
    )
    return dataclasses.replace(self, data=data)

  def changed(self, values: Mapping[str, Any], made: str | os.PathLike[str]) -> "Config":
    """Returns a copy with other values for the settings that a run may change.

    Args:
      values: settings by their names.
      made: the model folder of this configuration, for errors.

    Raises:
      InputError: as `with_settings`, or a value that contradicts the folder.
    """
    other = self.with_settings(**values)
    self.require_changeable(other, made)
    return other

  def require_changeable(self, other: "Config", made: str | os.PathLike[str]) -> None:
    """Checks that another configuration differs only in what a run may change.

    The order of the values of an extendable setting may change, too.

    Args:
      other: the other configuration.
      made: the model folder of this configuration, for errors.

    Raises:
      InputError: another setting differs; the message has both values.
    """
    for field, stored, received in self._differences(other):
      if field.metadata.get("changeable"):
        continue
      expected = settings.shown(stored)
      if field.metadata.get("extendable"):
        if set(stored) <= set(received):
          continue
        expected += ", perhaps with more"
      message = f"expected {expected}, the value in {made}, received {settings.shown(received)}"
      raise settings.InputError(field.name, message)

  def continuing(self, earlier: "Config", step: int) -> "Config":
    """Returns a copy with the history of an earlier configuration, and what has changed since.

    Args:
      earlier: the configuration that a run had until now.
      step: the step at which the run is resumed.
    """
    changes = [Change(step, field.name, old, new) for field, old, new in earlier._differences(self)]
    return dataclasses.replace(self, history=(*earlier.history, *changes))

  def _differences(self, other: "Config") -> Iterator[tuple[dataclasses.Field[Any], Any, Any]]:
    """Yields each field that has another value in another configuration, with both values."""
    for section, dataclass in sections().items():
      for field in dataclasses.fields(dataclass):
        ours, theirs = (getattr(getattr(each, section), field.name) for each in (self, other))
        if ours != theirs:
          yield field, ours, theirs

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """The shape (H, W, C) of an image, which is known once there is data."""
    if not self.data.image_shape:
      message = (
        "expected a configuration that knows its images (see with_data), received another one"
      )
      raise settings.InputError("image_shape", message)
    height, width, channels = self.data.image_shape
    return height, width, channels

  @property
  def is_classifier(self) -> bool:
    """Whether this is the configuration of a noisy classifier, not of a diffusion model."""
    return self.network.pool != "none"

  @property
  def uses_labels(self) -> bool:
    """Whether the network learns from the labels of the data."""
    return self.network.class_conditional or self.is_classifier

  @property
  def num_classes(self) -> int:
    """The number of classes that the network is conditioned on; 0 for an unconditional one."""
    return self.data.num_classes if self.network.class_conditional else 0

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the network's classes by number; empty where they are unknown."""
    return self.data.class_names if self.network.class_conditional else ()

  @property
  def low_res_shape(self) -> tuple[int, int, int] | None:
    """The shape (h, w, C) of the image that a super-resolution network enlarges, or None."""
    height, width, channels = self.image_shape
    low = self.network.low_res_size
    return (low, width * low // height, channels) if low else None

  @property
  def out_channels(self) -> int:
    """The number of channels of the network's output: for the mean, then for a learned variance."""
    return self.image_shape[-1] * (2 if self.diffusion.learns_variance else 1)

  def _require_classifier(self) -> None:
    """Checks that no setting asks for what only a diffusion model has."""
    for section, name, none in (
      (self.network, "class_conditional", False),
      (self.network, "low_res_size", 0),
      (self.training, "ema", ()),
      (self.evaluation, "best_score", None),
    ):
      value = getattr(section, name)
      settings.require(value == none, name, f"{settings.shown(none)} for a classifier", value)

  def _require_fit(self) -> None:
    height, width, _ = self.data.image_shape
    size = f"{height}x{width}"
    factor = 2**self.network.depth
    settings.require(
      height % factor == 0 and width % factor == 0,
      "channel_multipliers",
      f"at most as many levels as the images of {self.data.dataset}, {size}, can be halved for "
      f"({self.network.depth} times here)",
      self.network.channel_multipliers,
    )
    heights = [height // 2**level for level in range(self.network.depth + 1)]
    for resolution in self.network.attention_resolutions:
      settings.require(
        resolution in heights,
        "attention_resolutions",
        f"heights that the network has ({', '.join(map(str, heights))})",
        self.network.attention_resolutions,
      )
      self.network.require_heads(self.network.widths[heights.index(resolution)])
    settings.require(
      not self.is_classifier or self.data.num_classes > 1,
      "dataset",
      f"images of two or more classes for a classifier (here are {self.data.num_classes})",
      self.data.dataset,
    )
    settings.require(
      not self.network.class_conditional or self.data.num_classes > 1,
      "class_conditional",
      f"False, because {self.data.dataset} has {self.data.num_classes} classes and conditioning "
      "requires two or more",
      True,
    )
    for name, default in (("guidance_scale", 1.0), ("guidance_interval", ())):
      value = getattr(self.sampling, name)
      settings.require(
        self.network.label_dropout or value == default,
        name,
        f"{settings.shown(default)} for a model that was trained without label_dropout",
        value,
      )
    low = self.network.low_res_size
    settings.require(
      not low or (low < height and height % low == 0 and width * low % height == 0),
      "low_res_size",
      f"a divisor, below it, of the height of the images of {self.data.dataset}, {size}",
      low,
    )
    settings.require(
      not self.evaluation.eval_every
      or not low
      or set(self.evaluation.eval_scores) <= set(LIKELIHOODS),
      "eval_scores",
      "nll or nll_train for a super-resolution model, which draws no images from noise alone",
      self.evaluation.eval_scores,
    )
    settings.require(
      not self.sampling.consistent or low,
      "consistent",
      "False for a model that enlarges no images (low_res_size=0)",
      True,
    )


def sections() -> dict[str, Any]:
  """Returns the name and the dataclass of each section, in order."""
  fields = dataclasses.fields(Config)
  return {field.name: field.type for field in fields if dataclasses.is_dataclass(field.type)}


def _read_history(content: Any) -> tuple[Change, ...]:
  """Returns the changes that are a part of the JSON of a configuration."""
  expected = f"a history of changes with {', '.join(_CHANGE_KEYS)}"
  settings.require(isinstance(content, list), "config", expected, content)
  changes = []
  for item in content:
    known = isinstance(item, dict) and item.keys() == set(_CHANGE_KEYS)
    settings.require(known, "config", expected, item)
    step, name, *values = (item[key] for key in _CHANGE_KEYS)
    old, new = (tuple(value) if isinstance(value, list) else value for value in values)
    change = Change(step, name, old, new)
    settings.require(
      isinstance(change.step, int) and isinstance(change.setting, str), "config", expected, item
    )
    changes.append(change)
  return tuple(changes)


def _unknown_setting(name: str) -> settings.InputError:
  known = [field.name for part in sections().values() for field in dataclasses.fields(part)]
  near = difflib.get_close_matches(name, known, n=1)
  hint = f"; did you mean {near[0]}?" if near else ""
  return settings.InputError(name, f"expected the name of a setting, received an unknown one{hint}")
