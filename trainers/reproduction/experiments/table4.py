"""Table 4: FID, precision and recall of models of two sizes."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from iddpm_tf import registries
from iddpm_tf.models import model_dir
from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig10

_BIGGAN = ("BigGAN-deep (Brock et al., 2018)", 4.06, 0.86, 0.59)
_PAPER = {"small": (6.92, 0.77, 0.72), "large": (2.92, 0.82, 0.71)}
_SCORES = ("fid", "precision_k5", "recall_k5")


@experiments.EXPERIMENTS.register("table4")
class Table4(base.Experiment):
  """Scores of a small and a large model."""

  title = "Table 4: sample quality of models of two sizes"
  claims = (25,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluation of each size and seed."""
    return [_evaluation(scale, size, seed) for size in _PAPER for seed in _seeds(scale)]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the paper's scores beside ours, and claim 25."""
    sampler = tasks.result_name(_sampler(scale))
    # {size: {score: values of the seeds}}
    scores = {
      size: {
        name: np.array(
          [_evaluation(scale, size, seed).score(output, name, sampler) for seed in _seeds(scale)]
        )
        for name in _SCORES
      }
      for size in _PAPER
    }
    rows: list[tuple[Any, ...]] = [(*_BIGGAN, None, None, None, None)]
    for size, paper in _PAPER.items():
      folder = training(scale, size, scale.seeds[0]).folder(output)
      parameters = _parameters(folder) / 1e6
      ours = [float(values.mean()) for values in scores[size].values()]
      rows.append((f"Improved Diffusion ({size})", *paper, f"{parameters:.2f}M", *ours))
    columns = (
      "model",
      "the paper's FID",
      "precision",
      "recall",
      "parameters of ours",
      "our FID",
      "precision",
      "recall",
    )
    return sections.Section(
      "The paper's models are of class-conditional ImageNet-64. Their scores use Inception-V3 "
      "features, 50,000 samples and k = 5. The GAN is not trained here. Our models are of "
      f"{scale.fid_models.data}{_about_data(scale)}. Their scores use "
      f"{scale.fid.quality_samples:,} samples by {scale.fid.default_steps} steps, L_hybrid, "
      f"the cosine schedule, and seed {', '.join(map(str, _seeds(scale)))}.",
      tables=(sections.Table(columns, tuple(rows), "k = 5. Averages over the seeds."),),
      claims=(judge(_comparable_recall(scale, scores)),),
    )


def _comparable_recall(
  scale: scales.Scale, scores: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
  """Returns the recall by the size of the model, if it can be compared with the paper's GAN.

  That is so for the paper's data and the Inception graph, and not for registered extractors.
  """
  if not scale.sizes or scale.fid.features in registries.FEATURE_EXTRACTORS.names():
    return {}
  return {size: values["recall_k5"] for size, values in scores.items()}


def _seeds(scale: scales.Scale) -> tuple[int, ...]:
  """Returns all seeds where they judge a claim, and otherwise the first one."""
  return scale.seeds if scale.sizes else scale.seeds[:1]


def training(scale: scales.Scale, size: str, seed: int) -> tasks.TrainingTask:
  """Returns the training of the "small" or the "large" model."""
  if scale.sizes is None:
    width = scale.scaling.widths[0 if size == "small" else -1]
    if scale.has_paper_models:
      return fig10.training(scale, width, seed)
    # Figure 10 has other data.
    return shared_tasks.variant(
      scale.fid_models.training(scales.COSINE_HYBRID, seed),
      f"{width}_channels",
      fig10.width_flags(scale, width),
      scale.scaling.train_steps,
    )
  flagfile, train_steps = scale.sizes.flagfiles[size]
  return tasks.TrainingTask(
    f"{scale.name}_{pathlib.Path(flagfile).stem}_seed{seed}",
    flagfile,
    (*scale.sizes.flags, f"--seed={seed}"),
    train_steps,
  )


def _evaluation(scale: scales.Scale, size: str, seed: int) -> tasks.EvaluationTask:
  return shared_tasks.evaluation(
    "fid_precision_recall",
    training(scale, size, seed),
    (
      "--fid",
      "--precision_recall",
      f"--samplers={_sampler(scale)}",
      f"--num_samples={scale.fid.quality_samples}",
      *shared_tasks.features_flags(scale),
    ),
  )


def _sampler(scale: scales.Scale) -> str:
  return f"ancestral:{scale.fid.default_steps}"


def _parameters(folder: pathlib.Path) -> int:
  """Returns the number of parameters of a model folder's network."""
  from iddpm_tf.networks import cost

  return cost.config_cost(model_dir.ModelDir(folder).require_config()).parameters


def _about_data(scale: scales.Scale) -> str:
  if scale.sizes is None:
    return ""
  return (
    ", class-conditional, from the files of the other models; the paper's images are cropped and "
    "averaged from the original pictures"
  )


def judge(recall: Mapping[str, np.ndarray]) -> claims.Claim:
  """Judges claim 25.

  Args:
    recall: the recall of each seed by the size of the model; empty where the paper has no GAN to
      compare with.
  """
  name, _, _, gan = _BIGGAN
  statement = f"recall minus that of {name}, {gan}"
  parts = tuple(
    claims.over_seeds(
      f"{size} model: {statement}",
      values - gan,
      "recall (k = 5) of our samples, minus the number that the paper gives for the GAN; their "
      "FIDs, which are in the table, are not judged",
    )
    for size, values in recall.items()
  )
  return claims.Claim(
    25,
    "Diffusion models have a higher recall than a comparable GAN.",
    parts or (claims.unknown(statement, "the paper has no GAN for this data or these features"),),
  )
