"""Figure 6: learning curves of the objectives."""

import numpy as np

from iddpm_tf.diffusion import losses
from iddpm_tf.models import model_dir
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import sections
from trainers.reproduction.experiments import fig7


def needs(scale):
  """The same as Figure 7's."""
  return fig7.needs(scale)


def show(scale, output):
  """Figure 6, and claim 8."""
  nll = {
    name: [fig7.nll(scale, name, seed).score(output, "nll") for seed in scale.seeds]
    for name in fig7.OBJECTIVES
  }

  def draw(axis):
    for name in fig7.OBJECTIVES:
      folder = fig7.run(scale, name, scale.seeds[0]).folder(output)
      steps, loss = curves.scalars(folder, "loss/vlb")  # As the objective weighs it.
      axis.plot(
        steps, loss / losses.vlb_weight(model_dir.read_config(folder).diffusion), label=name
      )
    axis.set(xlabel="training step", ylabel="training log loss (bits/dim)", yscale="log")
    axis.legend()

  noise = {name: fig7.averages(scale, output, name) for name in (fig7.UNIFORM, fig7.RESAMPLED)}
  rows = tuple(
    (name, float(np.mean(values)), ", ".join(f"{value:.3f}" for value in values))
    for name, values in nll.items()
  )
  how = "bits/dim of the one less that of the other, of models of the same seed"
  return sections.Section(
    "Figure 6: learning curves of the objectives",
    f"On {scale.about}, cosine schedule, T = {scale.noise_steps}, {scale.noise_train_steps:,} steps. The importance "
    "sampling of t begins once every timestep has ten losses.",
    figures=(
      sections.plot(draw, f"L_vlb in training, as if t were uniform, seed {scale.seeds[0]}."),
    ),
    tables=(
      sections.Table(
        ("objective", "our NLL", "of each seed"),
        rows,
        "NLL (bits/dim) of the test images at the end, mean over the seeds.",
      ),
    ),
    claims=(
      claims.Claim(
        8,
        "Resampling lowers the noise of L_vlb and wins the best NLL.",
        (
          fig7.noisier(
            "noise scale of L_vlb, t uniform, over that of L_vlb resampled",
            noise[fig7.UNIFORM],
            noise[fig7.RESAMPLED],
          ),
          *(
            claims.paired(f"{name} less L_vlb resampled", nll[name], nll[fig7.RESAMPLED], how)
            for name in (fig7.HYBRID, fig7.UNIFORM)
          ),
        ),
      ),
    ),
  )
