"""Scales: which data and models stand for the paper's, and how precisely they are evaluated.

The settings of a scale are grouped by topic. The defaults are those of the paper's data; the small
scale replaces them.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import NamedTuple

from trainers.reproduction import tasks


class Row(NamedTuple):
  """A model of Tables 1 and 2, by what the tables vary.

  Attributes:
    schedule: the noise schedule.
    steps: T, the number of noising steps.
    objective: "simple", "hybrid", or "vlb", which is trained by importance sampling of t.
  """

  schedule: str
  steps: int
  objective: str

  def __str__(self) -> str:
    """Returns the row's name in names of flagfiles and trainings."""
    return f"{self.schedule}_{self.steps // 1000}k_{self.objective}"


# The models that most figures show.
LINEAR_HYBRID = Row("linear", 4000, "hybrid")
COSINE_SIMPLE = Row("cosine", 4000, "simple")
COSINE_HYBRID = Row("cosine", 4000, "hybrid")
COSINE_VLB = Row("cosine", 4000, "vlb")
ROWS = (
  Row("linear", 1000, "simple"),
  Row("linear", 4000, "simple"),
  LINEAR_HYBRID,
  COSINE_SIMPLE,
  COSINE_HYBRID,
  COSINE_VLB,
)
# Figures 8 and 15 also have these models after a part of their training.
_SEEN_IN_MID_TRAINING = (COSINE_SIMPLE, COSINE_HYBRID)
_MID_TRAINING = 0.4
_OBJECTIVE_FLAGS = {
  "simple": ("--objective=simple", "--variance_type=fixed_large"),
  "hybrid": (),
  "vlb": ("--objective=vlb", "--timestep_sampler=loss_second_moment"),
}


@dataclasses.dataclass(frozen=True)
class Models:
  """The models of Tables 1 and 2 on one data set.

  Attributes:
    name: the first part of the names of the trainings.
    data: the data, for the report.
    train_steps: the training steps of each model.
    flagfiles: the flagfile of each row. A single flagfile serves all rows, and flags say what the
      row is.
    flags: further flags of all trainings.
    fid_flags: further flags of evaluations of FID.
  """

  name: str
  data: str
  train_steps: int
  flagfiles: str | Mapping[Row, str]
  flags: tuple[str, ...] = ()
  fid_flags: tuple[str, ...] = ()

  def flagfile(self, row: Row) -> str:
    """Returns the flagfile of a row."""
    return self.flagfiles if isinstance(self.flagfiles, str) else self.flagfiles[row]

  def training(self, row: Row, seed: int) -> tasks.TrainingTask:
    """Returns the training of a row's model."""
    row_flags: tuple[str, ...] = ()
    if isinstance(self.flagfiles, str):
      row_flags = (
        f"--noise_schedule={row.schedule}",
        f"--diffusion_steps={row.steps}",
        *_OBJECTIVE_FLAGS[row.objective],
      )
    return tasks.TrainingTask(
      f"{self.name}_{row}_seed{seed}",
      self.flagfile(row),
      (*row_flags, *self.flags, f"--seed={seed}"),
      self.train_steps,
      kept_step=round(_MID_TRAINING * self.train_steps) if row in _SEEN_IN_MID_TRAINING else 0,
    )


@dataclasses.dataclass(frozen=True)
class Likelihood:
  """How bits/dim are evaluated.

  Attributes:
    nll_flags: flags of `trainers.evaluate` for the bits/dim of test images.
    close_nll_flags: the same for models of which claim 4 compares small differences. None: the
      same flags.
    terms_flags: flags for every term of the bound, of fewer images.
    ensemble_flags: flags for every term of the bound of an ensemble and its parents (Figure 13).
    num_steps: the numbers of evaluation steps, K (Figure 15).
  """

  nll_flags: tuple[str, ...] = ("--nll",)
  close_nll_flags: tuple[str, ...] | None = None
  terms_flags: tuple[str, ...] = ("--nll", "--num_examples=1000")
  ensemble_flags: tuple[str, ...] = ("--nll", "--num_examples=1000")
  num_steps: tuple[int, ...] = (25, 50, 100, 200, 400, 1000)


@dataclasses.dataclass(frozen=True)
class Fid:
  """How FID is evaluated.

  Attributes:
    image_shape: (height, width, channels) of the images of `Scale.fid_models`.
    num_samples: the samples of each model.
    num_steps: the numbers of sampling steps, K (Figure 8).
    most_steps: the number that stands for all T, for L_hybrid (Figure 8).
    default_steps: the number of sampling steps in Figures 4 and 9, and in Tables 4 and 5.
    quality_samples: the samples for precision and recall (Table 4).
    features: the path of the feature extractor. None: that of `trainers.evaluate` for the images,
      which are the features of the digits' classifier for digits.
  """

  image_shape: tuple[int, int, int]
  num_samples: int = 10_000
  num_steps: tuple[int, ...] = (25, 50, 100, 200, 400, 1000, 4000)
  most_steps: int = 4000
  default_steps: int = 250
  quality_samples: int = 50_000
  features: str | None = None


@dataclasses.dataclass(frozen=True)
class NoiseScale:
  """The trainings that measure the noise of their gradient (Figures 6, 7 and 13).

  Attributes:
    diffusion_steps: T.
    train_steps: the training steps.
    microbatches: the parts of a batch, between which the gradients are compared.
    flags: further flags.
  """

  diffusion_steps: int = 4000
  train_steps: int = 200_000
  microbatches: int = 8
  flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Overfitting:
  """The long trainings of Figure 16.

  Attributes:
    train_steps: the training steps.
    evaluations: how often the model is evaluated in training.
    max_examples: the training images to use; 0 for all.
  """

  train_steps: int = 500_000
  evaluations: int = 25
  max_examples: int = 0


@dataclasses.dataclass(frozen=True)
class EmaSweep:
  """The trainings of Figure 17, which keep several moving averages.

  Attributes:
    rates: the rates of the moving averages.
    train_steps: the training steps.
    evaluations: how often the averages are evaluated in training.
  """

  rates: tuple[float, ...] = (0.99, 0.999, 0.9999, 0.99995, 0.99999)
  train_steps: int = 500_000
  evaluations: int = 25


@dataclasses.dataclass(frozen=True)
class Scaling:
  """The trainings of Figure 10, of networks of several widths.

  Attributes:
    widths: the channels at the highest resolution.
    learning_rate: the learning rate of the first width.
    train_steps: the training steps.
    evaluations: how often the model is evaluated in training.
  """

  widths: tuple[int, ...] = (64, 96, 128, 192)
  learning_rate: float = 1e-4 * math.sqrt(2)  # So that it is 1e-4 at 128 channels.
  train_steps: int = 200_000
  evaluations: int = 10


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The small and the large model of Table 4.

  Attributes:
    flagfiles: the flagfile and the training steps of "small" and of "large".
    flags: further flags of both trainings.
  """

  flagfiles: Mapping[str, tuple[str, int]]
  flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scale:
  """One choice of the data and of the models that stand for the paper's.

  Attributes:
    name: the scale's name.
    seeds: the seeds of the models of each kind.
    further_seeds: further seeds of the models that judge a claim, by the claim's number.
    likelihood_models: the models whose bits/dim are compared.
    fid_models: the models whose FID is compared.
    sampler: the sampler of grids, and of the FID of Figure 13.
    likelihood: how bits/dim are evaluated.
    fid: how FID is evaluated.
    eval_flags: flags of `trainers.train` for evaluations in training.
    noise_scale: the trainings of Figures 6 and 7.
    overfitting: the trainings of Figure 16.
    ema_sweep: the trainings of Figure 17.
    scaling: the trainings of Figure 10.
    sizes: the models of Table 4. None: the narrowest and the widest of Figure 10.
    precision: the arithmetic of all networks.
    about: what the report says of the choice of these settings.
  """

  name: str
  seeds: tuple[int, ...]
  likelihood_models: Models
  fid_models: Models
  sampler: str
  likelihood: Likelihood
  fid: Fid
  eval_flags: tuple[str, ...] = ("--eval_samples=10000", "--eval_examples=1000")
  further_seeds: Mapping[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
  noise_scale: NoiseScale = NoiseScale()
  overfitting: Overfitting = Overfitting()
  ema_sweep: EmaSweep = EmaSweep()
  scaling: Scaling = Scaling()
  sizes: Sizes | None = None
  precision: str = "float32"
  about: str = ""

  @property
  def has_paper_models(self) -> bool:
    """Whether data and models are the paper's, so that one model serves bits/dim and FID."""
    return self.likelihood_models == self.fid_models

  def seeds_of(self, claim: int) -> tuple[int, ...]:
    """Returns `seeds` and the further seeds of a claim."""
    return (*self.seeds, *self.further_seeds.get(claim, ()))

  def with_features(self, features: str | None) -> "Scale":
    """Returns this scale with another feature extractor for FID."""
    return dataclasses.replace(self, fid=dataclasses.replace(self.fid, features=features))

  def with_seeds(self, seeds: tuple[int, ...]) -> "Scale":
    """Returns this scale with other seeds, which judge all claims."""
    about = self.about
    if about:
      about += f" The verdicts of these seeds, {', '.join(map(str, seeds))}, are not independent."
    return dataclasses.replace(self, seeds=seeds, further_seeds={}, about=about)

  def with_microbatches(self, count: int) -> "Scale":
    """Returns this scale with each batch in `count` parts, which take less memory.

    Trainings that measure the noise of their gradient keep their own number of parts if it is
    larger.
    """
    noise_scale = dataclasses.replace(
      self.noise_scale, microbatches=max(count, self.noise_scale.microbatches)
    )
    scale = self._with_training_flags(f"--microbatches={count}")
    return dataclasses.replace(scale, noise_scale=noise_scale)

  def with_precision(self, precision: str) -> "Scale":
    """Returns this scale with another arithmetic of all networks."""
    scale = self._with_training_flags(f"--precision={precision}")
    about = f"{self.about} The networks compute in {precision}.".lstrip()
    return dataclasses.replace(scale, precision=precision, about=about)

  def _with_training_flags(self, *flags: str) -> "Scale":
    """Returns this scale with further flags of all trainings."""
    likelihood_models, fid_models = (
      dataclasses.replace(models, flags=(*models.flags, *flags))
      for models in (self.likelihood_models, self.fid_models)
    )
    sizes = self.sizes and dataclasses.replace(self.sizes, flags=(*self.sizes.flags, *flags))
    return dataclasses.replace(
      self, likelihood_models=likelihood_models, fid_models=fid_models, sizes=sizes
    )


def _table_flagfiles(table: str) -> dict[Row, str]:
  """Returns the flagfiles of Table 1 or 2, `configs/TABLE_ROW.flags`."""
  return {row: f"configs/{table}_{row}.flags" for row in ROWS}


_CIFAR10_MODELS = Models(
  "cifar10",
  "CIFAR-10",
  train_steps=500_000,
  flagfiles=_table_flagfiles("table2")
  | {COSINE_HYBRID: "configs/cifar10.flags", COSINE_VLB: "configs/cifar10_vlb.flags"},
)
_IMAGENET64_MODELS = Models(
  "imagenet64", "ImageNet-64", train_steps=200_000, flagfiles=_table_flagfiles("table1")
)
_SMALL = Scale(
  "small",
  seeds=(11, 12, 13),
  # Three seeds left these claims undecided, or decided them by little.
  further_seeds={6: (14, 15, 16), 8: (14, 15), 9: (14, 15), 12: (14, 15)},
  about="These settings were chosen by runs with the seeds 0 to 10, before any model of other "
  "seeds was trained.",
  likelihood_models=Models(
    "photos_small",
    "8x8 crops of two photographs (RGB, 256 levels)",
    train_steps=600,
    flagfiles="configs/photos_small.flags",
    fid_flags=("--features=random",),  # They see colours and textures.
  ),
  fid_models=Models(
    "digits",
    "8x8 handwritten digits, class-conditional",
    train_steps=500,
    flagfiles="configs/digits.flags",
  ),
  sampler="ancestral:50",
  likelihood=Likelihood(
    nll_flags=("--nll", "--nll_stderr=0.005"),
    close_nll_flags=("--nll", "--nll_stderr=0.004"),
    terms_flags=("--nll", "--num_examples=16"),
    ensemble_flags=("--nll", "--num_examples=256"),
    num_steps=(25, 50, 100, 400),
  ),
  fid=Fid(
    image_shape=(8, 8, 1),
    num_samples=1000,
    num_steps=(5, 10, 25, 100),
    most_steps=400,
    default_steps=50,
    quality_samples=500,
  ),
  eval_flags=("--eval_samples=500", "--eval_examples=100", "--samplers=ancestral:25"),
  noise_scale=NoiseScale(
    diffusion_steps=250, train_steps=3000, microbatches=4, flags=("--log_every=50",)
  ),
  overfitting=Overfitting(train_steps=550, evaluations=11, max_examples=150),
  ema_sweep=EmaSweep(rates=(0.9, 0.97, 0.99), train_steps=600, evaluations=4),
  scaling=Scaling(widths=(32, 64), learning_rate=1e-3, train_steps=400, evaluations=5),
)
_CIFAR10 = Scale(
  "cifar10",
  seeds=(0,),
  likelihood_models=_CIFAR10_MODELS,
  fid_models=_CIFAR10_MODELS,
  sampler="ancestral:250",
  likelihood=Likelihood(),
  fid=Fid(image_shape=(32, 32, 3), num_samples=50_000),
  eval_flags=("--eval_samples=50000", "--eval_examples=1000"),
)
_IMAGENET64 = Scale(
  "imagenet64",
  seeds=(0,),
  likelihood_models=_IMAGENET64_MODELS,
  fid_models=_IMAGENET64_MODELS,
  sampler="ancestral:250",
  likelihood=Likelihood(nll_flags=("--nll", "--num_examples=10000")),
  fid=Fid(image_shape=(64, 64, 3)),
  ema_sweep=EmaSweep(train_steps=1_400_000),
  sizes=Sizes(
    {
      "small": ("configs/imagenet64_class_conditional_small.flags", 1_700_000),
      "large": ("configs/imagenet64_class_conditional.flags", 250_000),
    },
    # The same files as for the scale's other models.
    flags=("--dataset=imagenet_npz", "--resize=bicubic"),
  ),
)
SCALES = {scale.name: scale for scale in (_SMALL, _CIFAR10, _IMAGENET64)}
