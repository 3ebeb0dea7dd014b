"""Table 3: bits/dim beside those of other kinds of models."""

from collections.abc import Sequence
import pathlib

import numpy as np

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig13

# Bits/dim of ImageNet-64 and of CIFAR-10, as the paper cites them.
_PAPER = (
  ("Glow (Kingma & Dhariwal, 2018)", 3.81, 3.35),
  ("Flow++ (Ho et al., 2019)", 3.69, 3.08),
  ("PixelCNN (van den Oord et al., 2016)", 3.57, 3.14),
  ("SPN (Menick & Kalchbrenner, 2018)", 3.52, None),
  ("NVAE (Vahdat & Kautz, 2020)", None, 2.91),
  ("Very Deep VAE (Child, 2020)", 3.52, 2.87),
  ("PixelSNAIL (Chen et al., 2018)", 3.52, 2.85),
  ("Image Transformer (Parmar et al., 2018)", 3.48, 2.90),
  ("Sparse Transformer (Child et al., 2019)", 3.44, 2.80),
  ("Routing Transformer (Roy et al., 2020)", 3.43, None),
  ("DDPM (Ho et al., 2020)", 3.77, 3.70),
  ("DDPM (continuous flow) (Song et al., 2020)", None, 2.99),
  ("Improved DDPM", 3.53, 2.94),
)


@experiments.EXPERIMENTS.register("table3")
class Table3(base.Experiment):
  """Bits/dim of the best model. It judges no claim, because no other model is trained here."""

  title = "Table 3: bits/dim beside other likelihood-based models"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluation of the model of L_vlb of each seed."""
    return [_evaluation(scale, seed) for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the paper's table with a row of ours."""
    nll = [_evaluation(scale, seed).score(output, "nll") for seed in scale.seeds]
    rows = (
      *((*row, None) for row in _PAPER),
      (f"L_vlb, resampled, on {scale.likelihood_models.data}", None, None, float(np.mean(nll))),
    )
    return sections.Section(
      "The paper's numbers are the best of each model. Ours is the average over the seeds of the "
      "models of L_vlb whose t is sampled by importance, those of Figure 13. Bits/dim of different "
      "data cannot be compared.",
      tables=(
        sections.Table(
          ("model", "ImageNet-64 (paper)", "CIFAR-10 (paper)", "ours"), rows, "Bits/dim.", digits=2
        ),
      ),
    )


def _evaluation(scale: scales.Scale, seed: int) -> tasks.EvaluationTask:
  _, vlb = fig13.parents(scale, seed)
  return shared_tasks.nll(scale, vlb)
