"""Scales: which runs stand for the paper's, and how closely they are measured."""

import dataclasses
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


ROWS = (Row("linear", 1000, "simple"), Row("linear", 4000, "simple"), Row("linear", 4000, "hybrid"),
        Row("cosine", 4000, "simple"), Row("cosine", 4000, "hybrid"), Row("cosine", 4000, "vlb"))
OBJECTIVES = {
    "simple": ("--objective=simple", "--variance_type=fixed_large"), "hybrid": (),
    "vlb": ("--objective=vlb", "--timestep_sampler=loss_second_moment")}


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
  nll: tuple[str, ...] = ("--nll", "--nll_stderr=0.01")
  nll_of_terms: tuple[str, ...] = ("--nll", "--num_examples=16")  # Every term of the bound, of fewer images.
  nll_steps: tuple[int, ...] = (25, 50, 100, 400)  # K of Figure 15.
  samplers: tuple[str, ...] = ("ancestral:50",)  # Of grids.
  fid_base: str = "configs/digits.flags"  # Where there is no table: with classes, and features of their own.
  fid_about: str = ""  # The data of `fid_run`, for the report.
  fid_train_steps: int = 0
  fid_smaller: tuple[str, ...] = ()
  fid_samples: int = 10_000
  fid_steps: tuple[int, ...] = (25, 50, 100, 200, 400, 1000, 4000)  # K of Figure 8.
  skipping_steps: int = 250  # K of Figure 4.
  noise_steps: int = 4000  # T of Figures 6 and 7.
  noise_train_steps: int = 200_000
  noise_flags: tuple[str, ...] = ("--microbatches=8",)
  eval_flags: tuple[str, ...] = ("--eval_samples=10000", "--eval_examples=1000")
  overfitting_train_steps: int = 500_000  # Of Figure 16.
  overfitting_points: int = 25
  scaling_widths: tuple[int, ...] = (64, 96, 128, 192)  # Of Figure 10, with the learning rate of the first.
  scaling_learning_rate: float = 1.4142e-4
  scaling_train_steps: int = 200_000
  scaling_points: int = 10
  features: str | None = None  # Of FID; None: the digits'.

  def likelihood_run(self, row, seed):
    """The `Run` of a `Row` on the images whose bits/dim are compared."""
    if self.table:
      flagfile, flags = f"configs/{self._flagfile(row)}.flags", ()
    else:
      flagfile = self.base
      flags = (f"--noise_schedule={row.schedule}", f"--diffusion_steps={row.steps}", *OBJECTIVES[row.objective])
    return tasks.Run(f"{pathlib.Path(self.base).stem if not self.table else self.name}_{row}_seed{seed}", flagfile,
                     (*flags, *self.smaller, f"--seed={seed}"), self.train_steps)

  def fid_run(self, row, seed):
    """The `Run` of a `Row` on the images whose FID is compared."""
    if self.table:
      return self.likelihood_run(row, seed)
    flags = (f"--noise_schedule={row.schedule}", f"--diffusion_steps={row.steps}", *OBJECTIVES[row.objective])
    return tasks.Run(f"{pathlib.Path(self.fid_base).stem}_{row}_seed{seed}", self.fid_base,
                     (*flags, *self.fid_smaller, f"--seed={seed}"), self.fid_train_steps)

  def watched_run(self, kind, row, seed, flags, train_steps, points):
    """A `Run` on those images that is scored so often in training."""
    run = self.fid_run(row, seed)
    features = (f"--eval_features={self.features}",) if self.features else ()
    return run._replace(name=run.name.replace("_seed", f"_{kind}_seed"), train_steps=train_steps,
                        flags=(
        *run.flags, *flags, f"--eval_every={train_steps // points}", *self.eval_flags, *features))

  def fid_measurement(self, kind, row, seed, samplers, flags=()):
    """FID by each of `samplers`."""
    run = self.fid_run(row, seed)
    features = (f"--features={self.features}",) if self.features else ()
    return tasks.Measurement(f"{run.name}_fid_{kind}", run, (
        "--fid", f"--samplers={','.join(samplers)}", f"--num_samples={self.fid_samples}", *features, *flags))

  def noise_measurement(self, name, objective, seed):
    """Bits/dim of a run that shows its gradient noise, of an objective by its flags; the cosine schedule."""
    row = Row("cosine", self.noise_steps, "hybrid")
    flagfile = f"configs/{self._flagfile(row)}.flags" if self.table else self.base
    run = tasks.Run(
        f"{self.name if self.table else pathlib.Path(self.base).stem}_noise_{name}_seed{seed}", flagfile,
        (f"--diffusion_steps={self.noise_steps}", *objective, *self.noise_flags, *self.smaller, f"--seed={seed}"),
        self.noise_train_steps)
    return tasks.Measurement(f"{run.name}_nll", run, self.nll)

  def nll_measurement(self, row, seed):
    """Bits/dim of the test images."""
    return self._measurement("nll", row, seed, self.nll)

  def terms_measurement(self, row, seed):
    """Every term of the bound."""
    return self._measurement("terms", row, seed, self.nll_of_terms)

  def few_steps_measurement(self, row, seed, steps, schedule):
    """Bits/dim of the images of `terms_measurement` by fewer steps, by a schedule of --nll_schedule."""
    return self._measurement(f"nll_{schedule}_{steps}", row, seed, (
        *self.nll_of_terms, f"--nll_steps={steps}", f"--nll_schedule={schedule}"))

  def grid(self, row, seed):
    """A grid of samples."""
    run = self.likelihood_run(row, seed)
    return tasks.Measurement(f"{run.name}_samples", run, (f"--samplers={self.samplers[0]}", "--num_samples=36"),
                             command="sample")

  def ensemble(self, kind, middle, ends, seed, flags, command="evaluate"):
    """A measurement of two rows' models as one, `ends` at the first and the last hundred timesteps (Appendix D)."""
    run = self.likelihood_run(middle, seed)
    return tasks.Measurement(f"{run.name}_ends_{ends.objective}_{kind}", run, ("--ensemble_steps=100", *flags),
                             self.likelihood_run(ends, seed), command)

  def _measurement(self, kind, row, seed, flags):
    run = self.likelihood_run(row, seed)
    return tasks.Measurement(f"{run.name}_{kind}", run, flags)

  def _flagfile(self, row):
    if row == Row("cosine", 4000, "hybrid") and self.table == "table2":
      return "cifar10"
    if row == Row("cosine", 4000, "vlb") and self.table == "table2":
      return "cifar10_vlb"
    return f"{self.table}_{row}"


SCALES = {scale.name: scale for scale in (
    Scale("small", "8x8 crops of two photographs, embedded (RGB, 256 levels)", seeds=(0, 1, 2), table=None,
          train_steps=600, fid_about="the embedded digits, class-conditional", fid_train_steps=500, fid_samples=500,
          fid_steps=(5, 10, 25, 50, 100), skipping_steps=50, noise_steps=1000, noise_train_steps=1000,
          noise_flags=("--microbatches=8", "--log_every=50"), overfitting_train_steps=1600,
          overfitting_points=8, scaling_widths=(32, 64), scaling_learning_rate=1e-3, scaling_train_steps=400,
          scaling_points=5, eval_flags=("--eval_samples=500", "--eval_examples=100", "--samplers=ancestral:25")),
    Scale("cifar10", "CIFAR-10", fid_about="CIFAR-10", seeds=(0,), table="table2", train_steps=500_000,
          samplers=("ancestral:250",), nll=("--nll",), nll_of_terms=("--nll", "--num_examples=1000"),
          nll_steps=(25, 50, 100, 200, 400, 1000)),
    Scale("imagenet64", "ImageNet-64", fid_about="ImageNet-64", seeds=(0,), table="table1", train_steps=200_000,
          samplers=("ancestral:250",), nll=("--nll", "--num_examples=10000"),
          nll_of_terms=("--nll", "--num_examples=1000"), nll_steps=(25, 50, 100, 200, 400, 1000)),
)}
