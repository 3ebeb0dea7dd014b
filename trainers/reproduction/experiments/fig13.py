"""Figures 13 and 14: L_hybrid against L_vlb by timestep, and the two as one."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections

HYBRID, VLB = scales.Row("cosine", 4000, "hybrid"), scales.Row("cosine", 4000, "vlb")
_WINDOW = 40  # Timesteps that the ratio is averaged over, for the noise of few images.


def _ensemble(scale, seed):
  return scale.ensemble("nll", HYBRID, VLB, seed, scale.nll)


def _ensemble_grid(scale):
  return scale.ensemble("samples", HYBRID, VLB, scale.seeds[0],
                        (f"--samplers={scale.samplers[0]}", "--num_samples=36"), "sample")


def needs(scale):
  """Bits/dim of both and of the ensemble; terms and samples of the first seed's."""
  first = scale.seeds[0]
  return (*(scale.nll_measurement(row, seed) for row in (HYBRID, VLB) for seed in scale.seeds),
          *(_ensemble(scale, seed) for seed in scale.seeds),
          *(scale.terms_measurement(row, first) for row in (HYBRID, VLB)),
          *(scale.grid(row, first) for row in (VLB, HYBRID)), _ensemble_grid(scale))


def show(scale, output):
  """Figures 13 and 14, and claim 11."""
  first = scale.seeds[0]
  hybrid, vlb = (scale.terms_measurement(row, first).terms(output)[0] for row in (HYBRID, VLB))
  ratio = hybrid.reshape(-1, _WINDOW).mean(axis=1) / vlb.reshape(-1, _WINDOW).mean(axis=1)

  def draw(axis):
    axis.plot((np.arange(len(ratio)) + 0.5) * _WINDOW, ratio)
    axis.axhline(1, color="0.4", linewidth=0.8)
    axis.set(xlabel="diffusion step (t)", ylabel="L_t(hybrid) / L_t(vlb)")

  nll = {"L_hybrid": [scale.nll_measurement(HYBRID, seed).score(output, "nll") for seed in scale.seeds],
         "L_vlb": [scale.nll_measurement(VLB, seed).score(output, "nll") for seed in scale.seeds],
         "ensemble": [_ensemble(scale, seed).score(output, "nll") for seed in scale.seeds]}
  rows = tuple((name, paper, float(np.mean(values)), ", ".join(f"{value:.3f}" for value in values))
               for (name, values), paper in zip(nll.items(), (3.57, 3.53, 3.52)))
  pictures = ((scale.grid(VLB, first), "L_vlb"), (scale.grid(HYBRID, first), "L_hybrid"),
              (_ensemble_grid(scale), "ensemble"))
  how = "bits/dim of the parent less that of the ensemble, of models of the same seed"
  return sections.Section(
      "Figures 13 and 14: models of L_hybrid and L_vlb, and the two as one",
      "Below 1 the model of L_hybrid is better. The ensemble takes the model of L_vlb for the first and the last 100 "
      "of 4000 timesteps.",
      figures=(sections.plot(draw, f"The ratio of the terms of the bound, seed {first}, each a mean over {_WINDOW} "
                             "timesteps."),
               *(sections.grid(measurement.pictures(output)[0], f"{name}: samples from the same noise.")
                 for measurement, name in pictures)),
      tables=(sections.Table(("model", "the paper's NLL (ImageNet-64, 1.5M)", "our NLL", "of each seed"), rows,
                             "NLL (bits/dim), mean over the seeds."),),
      claims=(claims.Claim(11, "The ensemble beats both parents in NLL.", tuple(
          claims.paired(f"{name} less the ensemble", nll[name], nll["ensemble"], how)
          for name in ("L_hybrid", "L_vlb"))),))
