"""Everything a run is made of, as frozen dataclasses with one default a setting.

The command line is made from these fields (`trainers/flags.py`) and a model folder's `config.json`
holds them, so a name here is the name of a flag. Nothing here imports TensorFlow.
"""

import dataclasses
import json
import math

from iddpm_tf import settings
from iddpm_tf.settings import from_json

VERSION = 3  # Of the layout of config.json.


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """The UNet of Appendix A. The defaults, here and below, train the embedded digits in minutes."""

  base_channels: int = settings.setting(32, "channels at the highest resolution (C in Appendix A)")
  channel_multipliers: tuple[int, ...] = settings.setting(
    (1, 2), "channels of each level, in units of --base_channels, highest resolution first"
  )
  num_res_blocks: int = settings.setting(
    1, "residual blocks a level on the way down (one more on the way up)"
  )
  attention_resolutions: tuple[int, ...] = settings.setting(
    (4,), "image heights, in pixels, at which there is self-attention"
  )
  num_heads: int = settings.setting(4, "attention heads")
  num_heads_upsample: int = settings.setting(0, "attention heads on the way up; 0: as --num_heads")
  scale_shift_norm: bool = settings.setting(
    True, "condition by GroupNorm(h)(w + 1) + b; otherwise by GroupNorm(h + v)"
  )
  conv_resample: bool = settings.setting(
    True, "learned down- and upsampling; otherwise average pooling and nearest neighbours"
  )
  dropout: float = settings.setting(0.0, "dropout rate in the residual blocks")
  class_conditional: bool = settings.setting(False, "condition on the data set's class labels")
  low_res_size: int = settings.setting(
    0,
    "height of the smaller image that the network enlarges (Appendix C); 0: it draws from noise alone",
    since=2,
  )
  precision: str = settings.setting(
    "float32",
    "arithmetic of the network; weights stay float32",
    choices=("float32", "mixed_bfloat16"),
  )

  def __post_init__(self):
    settings.require_choices(self)
    settings.require_positive(self, "base_channels", "num_res_blocks", "num_heads")
    settings.require_not_negative(self, "num_heads_upsample", "low_res_size")
    settings.require(0 <= self.dropout < 1, "dropout", "a rate in [0, 1)", self.dropout)
    settings.require(
      self.channel_multipliers and min(self.channel_multipliers) > 0,
      "channel_multipliers",
      "one positive number or more, comma-separated",
      self.channel_multipliers,
    )
    settings.require(
      self.base_channels % 32 == 0,
      "base_channels",
      "a multiple of 32 (group normalisation has 32 groups)",
      self.base_channels,
    )
    for name in ("num_heads", "num_heads_upsample"):
      heads = getattr(self, name) or 1
      settings.require(
        all(self.base_channels * m % heads == 0 for m in self.channel_multipliers),
        name,
        "a divisor of the channels of every level",
        heads,
      )

  @property
  def depth(self):
    """How often the image is halved."""
    return len(self.channel_multipliers) - 1


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
  """The noising process, what the network predicts, and the objective (sections 2 and 3)."""

  diffusion_steps: int = settings.setting(1000, "T, the number of noising steps")
  noise_schedule: str = settings.setting(
    "cosine", "schedule of the noise", choices=("linear", "cosine")
  )
  mean_type: str = settings.setting(
    "eps", "what the network predicts of the mean", choices=("eps", "x_start", "x_prev")
  )
  variance_type: str = settings.setting(
    "learned_range",
    "the reverse process's variance; learned_range is Eq. 15",
    choices=("fixed_small", "fixed_large", "learned", "learned_range"),
  )
  objective: str = settings.setting(
    "hybrid", "what is minimised: L_simple, L_vlb or L_hybrid", choices=("simple", "vlb", "hybrid")
  )
  vlb_weight: float | None = settings.setting(
    None, "weight of L_vlb in the objective; unset: 0.001 for hybrid (lambda), 1 for vlb"
  )
  decoder: str = settings.setting(
    "exact",
    "the Gaussian CDF in L_0; tanh is the authors' approximation, to compare with their numbers",
    choices=("exact", "tanh"),
  )
  rescale_timesteps: bool = settings.setting(
    True, "the network sees t scaled to 0..1000; otherwise t itself"
  )
  timestep_sampler: str = settings.setting(
    "uniform",
    "how training draws t; loss_second_moment is Eq. 18",
    choices=("uniform", "loss_second_moment"),
  )

  def __post_init__(self):
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
        "fixed_small or fixed_large with --objective=simple, which trains no variance",
        self.variance_type,
      )
      settings.require(
        self.vlb_weight is None, "vlb_weight", "no value with --objective=simple", self.vlb_weight
      )
    if self.objective == "hybrid":
      settings.require(
        self.learns_variance,
        "variance_type",
        "learned or learned_range with --objective=hybrid",
        self.variance_type,
      )
    settings.require(
      self.vlb_weight is None or 0 < self.vlb_weight < math.inf,
      "vlb_weight",
      "a positive number",
      self.vlb_weight,
    )

  @property
  def learns_variance(self):
    return self.variance_type in ("learned", "learned_range")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where images come from."""

  dataset: str = settings.setting(
    "digits",
    "digits or photos (both embedded); records (of trainers.prepare_data); folder (of pictures); "
    "imagenet_npz (the official batches); lsun (an LMDB); or the name of a TFDS data set with images",
    changeable=True,
  )
  data_dir: str | None = settings.setting(
    None, "where the data is; unset: TFDS's own folder", changeable=True
  )
  image_size: int = settings.setting(
    0, "height and width to bring the images to; 0: as they are", since=2
  )
  resize: str = settings.setting(
    "bicubic",
    "how; bicubic: the authors' (halved while twice the size, then bicubic, then cropped); "
    "area: cropped, then averaged, as for class-conditional ImageNet",
    choices=("bicubic", "area"),
    changeable=True,
    since=2,
  )
  folder_labels: str = settings.setting(
    "subfolders",
    "where a folder's labels are: the names of sub-folders, the names of files up to the "
    "first underscore, or nowhere",
    choices=("subfolders", "prefix", "none"),
    changeable=True,
    since=2,
  )
  random_flip: bool = settings.setting(False, "mirror half of the training images")
  image_shape: tuple[int, ...] = settings.recorded(())  # Height, width, channels.
  num_classes: int = settings.recorded(0)  # 0: the data has no labels.

  def __post_init__(self):
    settings.require(
      len(self.image_shape) in (0, 3) and all(size > 0 for size in self.image_shape),
      "image_shape",
      "height, width and channels",
      self.image_shape,
    )
    settings.require_choices(self)
    settings.require_not_negative(self, "num_classes", "image_size")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """The optimisation, and how often to look at it."""

  train_steps: int = settings.setting(
    1500, "steps in all; a larger number resumes a finished run", changeable=True
  )
  batch_size: int = settings.setting(128, "images a step, over all replicas")
  microbatches: int = settings.setting(
    1,
    "parts of a replica's images whose gradients are computed one after the other, to save memory, and averaged",
    changeable=True,
    since=3,
  )
  learning_rate: float = settings.setting(1e-3, "AdamW's learning rate")
  warmup_steps: int = settings.setting(0, "steps of linear warm-up of the learning rate")
  decay_steps: int = settings.setting(
    0, "step at which the learning rate has fallen linearly to 0; 0: never", changeable=True
  )
  weight_decay: float = settings.setting(0.0, "AdamW's decoupled weight decay")
  ema: tuple[float, ...] = settings.setting((0.995,), "rates of the moving averages of the weights")
  seed: int = settings.setting(0, "of the weights, the data's order and all noise")
  steps_per_call: int = settings.setting(10, "training steps a graph call", changeable=True)
  log_every: int = settings.setting(100, "steps between TensorBoard scalars", changeable=True)
  sample_every: int = settings.setting(
    0, "steps between sample grids; 0: only at the end", changeable=True
  )
  save_every: int = settings.setting(500, "steps between checkpoints", changeable=True)
  keep_checkpoints: int = settings.setting(3, "checkpoints to keep", changeable=True)

  def __post_init__(self):
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
    )
    settings.require(
      self.batch_size % self.microbatches == 0,
      "microbatches",
      f"a divisor of --batch_size={self.batch_size}",
      self.microbatches,
    )
    settings.require_not_negative(
      self, "warmup_steps", "decay_steps", "weight_decay", "sample_every"
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps > self.warmup_steps,
      "decay_steps",
      f"0, or more than --warmup_steps={self.warmup_steps}",
      self.decay_steps,
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps >= self.train_steps,
      "decay_steps",
      f"0, or at least --train_steps={self.train_steps}, since the rate is 0 from there on",
      self.decay_steps,
    )
    settings.require_seed(self.seed)
    settings.require(
      len(set(self.ema)) == len(self.ema) and all(0 < rate < 1 for rate in self.ema),
      "ema",
      "distinct rates between 0 and 1, comma-separated",
      self.ema,
    )


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """How images are drawn, in training's grids and by default in the other commands."""

  samplers: tuple[str, ...] = settings.setting(
    ("ancestral:100",),
    "NAME:STEPS[:ETA], NAME being ancestral or ddim; ancestral alone: all steps; with :skip0.2 "
    "the first fifth of them is left out",
    changeable=True,
  )
  num_samples: int = settings.setting(100, "images to draw", changeable=True)
  clip_denoised: bool = settings.setting(True, "clip the predicted x_0 to [-1, 1]", changeable=True)
  consistent: bool = settings.setting(
    False,
    "hold each predicted x_0 of a super-resolution model to the image that it enlarges",
    changeable=True,
    since=2,
  )

  def __post_init__(self):
    settings.require_positive(self, "num_samples")
    settings.require(
      self.samplers, "samplers", "one sampler or more, such as ancestral:250,ddim:50", self.samplers
    )


SCORES = ("fid", "sfid", "inception_score", "precision_recall")  # Of samples.
LIKELIHOODS = {"nll": "test", "nll_train": "train"}  # And the split of each.
NEIGHBOURS = (3, 5)  # k of precision and recall (Kynkäänniemi et al., 2019, and Table 4).


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Scores in training, of each moving average (Appendices F and G: models overfit, and the rate matters)."""

  eval_every: int = settings.setting(
    0, "steps between evaluations of the averaged weights; 0: none", changeable=True, since=3
  )
  eval_scores: tuple[str, ...] = settings.setting(
    ("fid",),
    f"what to compute: {', '.join((*LIKELIHOODS, *SCORES))}, comma-separated",
    changeable=True,
    since=3,
  )
  eval_samples: int = settings.setting(
    1000, "images to draw, by the first of --samplers", changeable=True, since=3
  )
  eval_examples: int = settings.setting(
    100,
    "images of the test split for nll, of the training split for nll_train; 0: all",
    changeable=True,
    since=3,
  )
  eval_nll_steps: int = settings.setting(
    100,
    "K timesteps for them, and every t up to T/K (Appendix E); 0: all",
    changeable=True,
    since=3,
  )
  eval_features: str | None = settings.setting(
    None, "whose features, as --features of trainers.evaluate", changeable=True, since=3
  )
  eval_reference: str | None = settings.setting(
    None,
    "real images' statistics, as --reference of trainers.evaluate; unset: the training images",
    changeable=True,
    since=3,
  )
  best_score: str | None = settings.setting(
    None,
    "keep the best checkpoint by this score, such as fid, nll or recall_k3",
    changeable=True,
    since=3,
  )

  def __post_init__(self):
    settings.require_not_negative(self, "eval_every", "eval_examples", "eval_nll_steps")
    settings.require_positive(self, "eval_samples")
    kinds = (*LIKELIHOODS, *SCORES)
    settings.require(
      self.eval_scores
      and len(set(self.eval_scores)) == len(self.eval_scores)
      and set(self.eval_scores) <= set(kinds),
      "eval_scores",
      f"distinct names of {', '.join(kinds)}, comma-separated",
      self.eval_scores,
    )
    settings.require(
      self.best_score is None or self.best_score in self.score_names,
      "best_score",
      f"one that --eval_scores computes: {', '.join(self.score_names)}",
      self.best_score,
    )

  @property
  def score_names(self):
    """What the scores are called in results."""
    names = [
      [f"{part}_k{k}" for k in NEIGHBOURS for part in ("precision", "recall")]
      if score == "precision_recall"
      else [score]
      for score in self.eval_scores
    ]
    return tuple(name for group in names for name in group)


@dataclasses.dataclass(frozen=True)
class Config:
  """A whole run: what `config.json` holds."""

  network: NetworkConfig = NetworkConfig()
  diffusion: DiffusionConfig = DiffusionConfig()
  data: DataConfig = DataConfig()
  training: TrainingConfig = TrainingConfig()
  sampling: SamplingConfig = SamplingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()

  def __post_init__(self):
    if self.data.image_shape:
      self._require_fit()

  def _require_fit(self):
    """The network against the data."""
    height, width, _ = self.data.image_shape
    factor = 2**self.network.depth
    settings.require(
      height % factor == 0 and width % factor == 0,
      "channel_multipliers",
      f"{self.network.depth} halvings to divide the images of {self.data.dataset}, "
      f"{height}x{width}",
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
    settings.require(
      not self.network.class_conditional or self.data.num_classes > 1,
      "class_conditional",
      f"a data set of two classes or more, which {self.data.dataset} is not ({self.data.num_classes} "
      "classes)",
      True,
    )
    low = self.network.low_res_size
    settings.require(
      not low or (low < height and height % low == 0 and width * low % height == 0),
      "low_res_size",
      f"a divisor, and less, of the height of the images of {self.data.dataset}, {height}x{width}",
      low,
    )
    settings.require(
      not self.evaluation.eval_every
      or not low
      or set(self.evaluation.eval_scores) <= set(LIKELIHOODS),
      "eval_scores",
      "nll or nll_train alone for a model that enlarges images, which draws none from noise alone",
      self.evaluation.eval_scores,
    )
    settings.require(
      not self.sampling.consistent or low,
      "consistent",
      "nothing with a model that does not enlarge images (--low_res_size)",
      True,
    )

  @property
  def num_classes(self):
    """Classes that the network is conditioned on; 0: unconditional."""
    return self.data.num_classes if self.network.class_conditional else 0

  @property
  def low_res_shape(self):
    """(h, w, C) of the image that a super-resolution network enlarges; None for any other network."""
    height, width, channels = self.data.image_shape
    low = self.network.low_res_size
    return (low, width * low // height, channels) if low else None

  @property
  def out_channels(self):
    """Channels of the network's output: of the mean, then of the variance if that is learned."""
    return self.data.image_shape[-1] * (2 if self.diffusion.learns_variance else 1)

  def to_json(self):
    return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=2) + "\n"

  @classmethod
  def from_json(cls, text):
    """The inverse of `to_json`; `ValueError` for anything else."""
    try:
      content = json.loads(text)
    except json.JSONDecodeError as error:
      raise settings.InputError(
        "config.json", f"expected JSON, received other text ({error})"
      ) from None
    version = content.pop("version", None) if isinstance(content, dict) else None
    if not isinstance(version, int) or not 1 <= version <= VERSION:
      raise settings.InputError(
        "config.json", f"expected a configuration of version 1 to {VERSION}, received {version!r}"
      )
    return cls(
      **{
        name: from_json.read(part, content.pop(name, None), version)
        for name, part in parts().items()
      },
      **from_json.none_left(content, "sections"),
    )


def parts():
  """Each section's name and dataclass, in order."""
  return {field.name: field.type for field in dataclasses.fields(Config)}
