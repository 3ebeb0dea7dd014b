"""Scales: which runs stand for the paper's, and how closely they are measured."""

import dataclasses
import math
import pathlib
from typing import NamedTuple

from trainers.reproduction import tasks


class Row(NamedTuple):
  """A model of Tables 1 and 2: what is ablated."""

  schedule: str
  steps: int  # T.
  objective: str  # "vlb" is with importance sampling of t.

  def __str__(self):
    return f"{self.schedule}_{self.steps // 1000}k_{self.objective}"


ROWS = (
  Row("linear", 1000, "simple"),
  Row("linear", 4000, "simple"),
  Row("linear", 4000, "hybrid"),
  Row("cosine", 4000, "simple"),
  Row("cosine", 4000, "hybrid"),
  Row("cosine", 4000, "vlb"),
)
OBJECTIVES = {
  "simple": ("--objective=simple", "--variance_type=fixed_large"),
  "hybrid": (),
  "vlb": ("--objective=vlb", "--timestep_sampler=loss_second_moment"),
}


@dataclasses.dataclass(frozen=True)
class Scale:
  """One of the choices of `--scale`."""

  name: str
  about: str  # The data, for the report.
  seeds: tuple[int, ...]
  # Flagfiles of `likelihood_run` by name of the row; None: one for all, overridden.
  table: str | None
  train_steps: int
  base: str = "configs/photos_small.flags"  # Of a scale without a table.
  smaller: tuple[str, ...] = ()  # Flags of every run, such as a smaller network.
  mid_training: float = (
    0.4  # The part of training after which Figures 8 and 15 have their other models.
  )
  nll: tuple[str, ...] = ("--nll", "--nll_stderr=0.01")
  nll_of_terms: tuple[str, ...] = (
    "--nll",
    "--num_examples=16",
  )  # Every term of the bound, of fewer images.
  nll_of_ensemble: tuple[str, ...] = ("--nll", "--num_examples=1000")  # Of all timesteps.
  nll_steps: tuple[int, ...] = (25, 50, 100, 400)  # K of Figure 15.
  samplers: tuple[str, ...] = ("ancestral:50",)  # Of grids.
  fid_base: str = (
    "configs/digits.flags"  # Where there is no table: with classes, and features of their own.
  )
  fid_about: str = ""  # The data of `fid_run`, for the report.
  fid_image_shape: tuple[int, int, int] = (8, 8, 1)
  fid_train_steps: int = 0
  fid_smaller: tuple[str, ...] = ()
  fid_samples: int = 10_000
  fid_steps: tuple[int, ...] = (25, 50, 100, 200, 400, 1000, 4000)  # K of Figure 8.
  sampling_steps: int = 250  # K of Figure 4 and Table 4.
  noise_steps: int = 4000  # T of Figures 6 and 7.
  noise_train_steps: int = 200_000
  noise_microbatches: int = 8
  noise_flags: tuple[str, ...] = ()
  eval_flags: tuple[str, ...] = ("--eval_samples=10000", "--eval_examples=1000")
  overfitting_train_steps: int = 500_000  # Of Figure 16.
  overfitting_points: int = 25
  scaling_widths: tuple[int, ...] = (
    64,
    96,
    128,
    192,
  )  # Of Figure 10; the learning rate is that of the first.
  scaling_learning_rate: float = 1e-4 * math.sqrt(2)  # 1e-4 at 128.
  scaling_train_steps: int = 200_000
  scaling_points: int = 10
  sizes: dict[str, tuple[str, int]] | None = (
    None  # Flagfile and steps of Table 4's models; None: Figure 10's ends.
  )
  sizes_flags: tuple[str, ...] = ()
  quality_samples: int = 50_000
  sweep_ema: tuple[float, ...] = (0.99, 0.999, 0.9999, 0.99995, 0.99999)  # Of Figure 17.
  sweep_train_steps: int = 500_000
  sweep_points: int = 25
  features: str | None = None  # Of FID; None: the digits'.

  def in_microbatches(self, count):
    """The same with each batch in so many parts, or in more where they measure the gradient's noise."""
    flags = (f"--microbatches={count}",)
    return dataclasses.replace(
      self,
      smaller=(*self.smaller, *flags),
      sizes_flags=(*self.sizes_flags, *flags),
      noise_microbatches=max(count, self.noise_microbatches),
    )

  def likelihood_run(self, row, seed):
    """The `Run` of a `Row` on the images whose bits/dim are compared."""
    return self._run(self.base, row, self.smaller, seed, self.train_steps)

  def fid_run(self, row, seed):
    """The `Run` of a `Row` on the images whose FID is compared."""
    return self._run(self.fid_base, row, self.fid_smaller, seed, self.fid_train_steps)

  def watched(self, run, kind, flags, train_steps, points):
    """Another `Run` that is scored so often in training."""
    features = (f"--eval_features={self.features}",) if self.features else ()
    return run._replace(
      name=run.name.replace("_seed", f"_{kind}_seed"),
      train_steps=train_steps,
      flags=(
        *run.flags,
        *flags,
        f"--eval_every={train_steps // points}",
        *self.eval_flags,
        *features,
      ),
    )

  def in_mid_training(self, run):
    """A `Run` as it is earlier: the learning rate is the same throughout."""
    return run._replace(
      name=run.name.replace("_seed", "_mid_seed"),
      train_steps=round(self.mid_training * run.train_steps),
    )

  def fid_measurement(self, kind, run, samplers, flags=()):
    """FID by each of `samplers`."""
    return self._scores(
      kind,
      run,
      ("--fid", f"--samplers={','.join(samplers)}", f"--num_samples={self.fid_samples}", *flags),
    )

  def ensemble_fid(self, middle, ends=None, steps=0):
    """FID of two runs' models as one, or of one alone."""
    measurement = self.fid_measurement(
      "ensemble" if ends else "parent", middle, (self.samplers[0],)
    )
    return (
      measurement._replace(flags=(f"--ensemble_steps={steps}", *measurement.flags), ends=ends)
      if ends
      else measurement
    )

  def quality_of(self, run):
    """FID, and precision and recall, of more samples (Table 4)."""
    return self._scores(
      "precision_recall",
      run,
      (
        "--fid",
        "--precision_recall",
        f"--samplers=ancestral:{self.sampling_steps}",
        f"--num_samples={self.quality_samples}",
      ),
    )

  def noise_run(self, name, objective, seed):
    """The `Run` that shows its gradient noise, of an objective by its flags; the cosine schedule."""
    row = Row("cosine", self.noise_steps, "hybrid")
    flagfile = f"configs/{self._flagfile(row)}.flags" if self.table else self.base
    return tasks.Run(
      f"{self.name if self.table else pathlib.Path(self.base).stem}_noise_{name}_seed{seed}",
      flagfile,
      (
        f"--diffusion_steps={self.noise_steps}",
        *objective,
        *self.smaller,
        f"--microbatches={self.noise_microbatches}",
        *self.noise_flags,
        f"--seed={seed}",
      ),
      self.noise_train_steps,
    )

  def scaling_run(self, width, seed):
    """The `Run` of so many channels, scored throughout; its learning rate falls with their root (Section 6)."""
    rate = self.scaling_learning_rate / math.sqrt(width / self.scaling_widths[0])
    return self.watched(
      self.fid_run(Row("cosine", 4000, "hybrid"), seed),
      f"{width}_channels",
      (f"--base_channels={width}", f"--learning_rate={rate:.6g}", "--eval_scores=fid,nll"),
      self.scaling_train_steps,
      self.scaling_points,
    )

  def sized_run(self, size, seed):
    """The `Run` of the "small" or the "large" model of Table 4."""
    if not self.sizes:
      return self.scaling_run(self.scaling_widths[0 if size == "small" else -1], seed)
    flagfile, train_steps = self.sizes[size]
    return tasks.Run(
      f"{self.name}_{pathlib.Path(flagfile).stem}_seed{seed}",
      flagfile,
      (*self.sizes_flags, f"--seed={seed}"),
      train_steps,
    )

  def nll_of(self, run):
    """Bits/dim of the test images."""
    return _measurement("nll", run, self.nll)

  def terms_of(self, run):
    """Every term of the bound."""
    return _measurement("terms", run, self.nll_of_terms)

  def few_steps_of(self, run, steps, schedule):
    """Bits/dim of the images of `terms_of` by fewer steps, by a schedule of --nll_schedule."""
    return _measurement(
      f"nll_{schedule}_{steps}",
      run,
      (*self.nll_of_terms, f"--nll_steps={steps}", f"--nll_schedule={schedule}"),
    )

  def grid_of(self, run):
    """A grid of samples."""
    return tasks.Measurement(f"{run.name}_samples", run, self._grid, command="sample")

  def parent_terms(self, run):
    """Every term of a parent of the ensemble, with the noise that the ensemble has: they are compared image by image."""
    return _measurement("parent_terms", run, self.nll_of_ensemble)

  def ensemble_nll(self, middle, ends, steps):
    """The same of two runs' models as one, of which `ends` has so many timesteps at either end (Appendix D)."""
    return _measurement(
      "ensemble_nll", middle, (f"--ensemble_steps={steps}", *self.nll_of_ensemble), ends
    )

  def ensemble_grid(self, middle, ends, steps):
    """A grid of the two's samples."""
    return tasks.Measurement(
      f"{middle.name}_ensemble_samples",
      middle,
      (f"--ensemble_steps={steps}", *self._grid),
      ends,
      "sample",
    )

  @property
  def _grid(self):
    return f"--samplers={self.samplers[0]}", "--num_samples=36"

  def _run(self, base, row, smaller, seed, train_steps):
    if self.table:
      name, flagfile, flags = self.name, f"configs/{self._flagfile(row)}.flags", ()
      smaller, train_steps = self.smaller, self.train_steps
    else:
      name, flagfile = pathlib.Path(base).stem, base
      flags = (
        f"--noise_schedule={row.schedule}",
        f"--diffusion_steps={row.steps}",
        *OBJECTIVES[row.objective],
      )
    return tasks.Run(
      f"{name}_{row}_seed{seed}", flagfile, (*flags, *smaller, f"--seed={seed}"), train_steps
    )

  def _scores(self, kind, run, flags):
    features = (f"--features={self.features}",) if self.features else ()
    return _measurement(f"fid_{kind}", run, (*flags, *features))

  def _flagfile(self, row):
    if row == Row("cosine", 4000, "hybrid") and self.table == "table2":
      return "cifar10"
    if row == Row("cosine", 4000, "vlb") and self.table == "table2":
      return "cifar10_vlb"
    return f"{self.table}_{row}"


def _measurement(kind, run, flags, ends=None):
  """Of a run, with noise of the run's own seed: what seeds share would be in no interval over them."""
  seed = tuple(flag for flag in run.flags if flag.startswith("--seed=") and flag != "--seed=0")
  return tasks.Measurement(f"{run.name}_{kind}", run, (*flags, *seed), ends)


SCALES = {
  scale.name: scale
  for scale in (
    Scale(
      "small",
      "8x8 crops of two photographs, embedded (RGB, 256 levels)",
      seeds=(0, 1, 2),
      table=None,
      train_steps=600,
      fid_about="the embedded digits, class-conditional",
      fid_train_steps=500,
      fid_samples=500,
      fid_steps=(5, 10, 25, 50, 100),
      sampling_steps=50,
      nll_of_ensemble=("--nll", "--num_examples=256"),
      noise_steps=250,
      noise_train_steps=3000,
      noise_microbatches=4,
      noise_flags=("--log_every=50",),
      overfitting_train_steps=1600,
      overfitting_points=8,
      scaling_widths=(32, 64),
      scaling_learning_rate=1e-3,
      scaling_train_steps=400,
      scaling_points=5,
      quality_samples=500,
      sweep_ema=(0.9, 0.97, 0.99),
      sweep_train_steps=600,
      sweep_points=4,
      eval_flags=("--eval_samples=500", "--eval_examples=100", "--samplers=ancestral:25"),
    ),
    Scale(
      "cifar10",
      "CIFAR-10",
      fid_about="CIFAR-10",
      fid_image_shape=(32, 32, 3),
      seeds=(0,),
      table="table2",
      train_steps=500_000,
      samplers=("ancestral:250",),
      nll=("--nll",),
      nll_of_terms=("--nll", "--num_examples=1000"),
      nll_steps=(25, 50, 100, 200, 400, 1000),
      fid_samples=50_000,
      eval_flags=("--eval_samples=50000", "--eval_examples=1000"),
    ),
    Scale(
      "imagenet64",
      "ImageNet-64",
      fid_about="ImageNet-64",
      fid_image_shape=(64, 64, 3),
      seeds=(0,),
      table="table1",
      train_steps=200_000,
      samplers=("ancestral:250",),
      nll=("--nll", "--num_examples=10000"),
      nll_of_terms=("--nll", "--num_examples=1000"),
      nll_steps=(25, 50, 100, 200, 400, 1000),
      sizes={
        "small": ("configs/imagenet64_class_conditional_small.flags", 1_700_000),
        "large": ("configs/imagenet64_class_conditional.flags", 250_000),
      },
      sweep_train_steps=1_400_000,
      # Of the same files as the other models.
      sizes_flags=("--dataset=imagenet_npz", "--resize=bicubic"),
    ),
  )
}
