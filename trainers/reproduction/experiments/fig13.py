"""Figures 13 and 14: L_hybrid against L_vlb by timestep, and the two as one."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction.experiments import fig7

_HYBRID, _VLB, _ENSEMBLE = "L_hybrid", "L_vlb", "ensemble"
# NLL and FID of ImageNet-64: Table 1 and Appendix D.
_PAPER = {_HYBRID: (3.57, 19.2), _VLB: (3.53, 40.1), _ENSEMBLE: (3.52, 19.9)}
_ENDS = 40  # T over the timesteps of the ensemble at either end: 100 of 4000.
_WINDOWS = 50  # That the ratio is averaged over, for the noise of few images.


def _parents(scale, seed):
  """The two `Run`s.

  At the small scale Figure 7's, since the tables' L_vlb is trained too briefly at T = 4000 for its importance sampling
  to begin.
  """
  if scale.table:
    return tuple(
      scale.likelihood_run(scales.Row("cosine", 4000, objective), seed)
      for objective in ("hybrid", "vlb")
    )
  return tuple(fig7.run(scale, name, seed) for name in (fig7.HYBRID, fig7.RESAMPLED))


def _likelihoods(scale, seed):
  """{model: its `Measurement`}."""
  hybrid, vlb = _parents(scale, seed)
  return {
    _HYBRID: scale.parent_terms(hybrid),
    _VLB: scale.parent_terms(vlb),
    _ENSEMBLE: scale.ensemble_nll(hybrid, vlb, scale.noise_steps // _ENDS),
  }


def _fids(scale, seed):
  """The same of FID, of the paper's data."""
  hybrid, vlb = _parents(scale, seed)
  return {
    _HYBRID: scale.ensemble_fid(hybrid),
    _VLB: scale.ensemble_fid(vlb),
    _ENSEMBLE: scale.ensemble_fid(hybrid, vlb, scale.noise_steps // _ENDS),
  }


def _grids(scale):
  """The same of samples of the first seed."""
  hybrid, vlb = _parents(scale, scale.seeds[0])
  return {
    _VLB: scale.grid_of(vlb),
    _HYBRID: scale.grid_of(hybrid),
    _ENSEMBLE: scale.ensemble_grid(hybrid, vlb, scale.noise_steps // _ENDS),
  }


def needs(scale):
  """Every term of both and of the ensemble; samples of the first seed's, and FID where features of the images are known."""
  return (
    *(measurement for seed in scale.seeds for measurement in _likelihoods(scale, seed).values()),
    *_grids(scale).values(),
    *(_fids(scale, scale.seeds[0]).values() if scale.features else ()),
  )


def show(scale, output):
  """Figures 13 and 14, and claim 11."""
  steps, seed = scale.noise_steps, scale.seeds[0]
  hybrid, vlb = (
    _likelihoods(scale, seed)[name].terms(output)[0].reshape(_WINDOWS, -1).mean(axis=1)
    for name in (_HYBRID, _VLB)
  )

  def draw(axis):
    axis.plot((np.arange(_WINDOWS) + 0.5) * steps / _WINDOWS, hybrid / vlb)
    axis.axhline(1, color="0.4", linewidth=0.8)
    axis.set(xlabel="diffusion step (t)", ylabel="L_t(hybrid) / L_t(vlb)")

  found = [
    {
      name: measurement.score(output, "nll")
      for name, measurement in _likelihoods(scale, each).items()
    }
    for each in scale.seeds
  ]
  nll = {name: [of_seed[name] for of_seed in found] for name in _PAPER}
  sampler = scale.samplers[0].replace(":", "_")
  fid = {
    name: measurement.score(output, "fid", sampler)
    for name, measurement in (_fids(scale, seed) if scale.features else {}).items()
  }
  rows = tuple(
    (
      name,
      *paper,
      float(np.mean(nll[name])),
      ", ".join(f"{value:.3f}" for value in nll[name]),
      fid.get(name),
    )
    for name, paper in _PAPER.items()
  )
  how = "bits/dim of the parent less that of the ensemble, of the same images and noise, of models of the same seed"
  return sections.Section(
    "Figures 13 and 14: models of L_hybrid and L_vlb, and the two as one",
    f"On {scale.about}, cosine schedule, T = {steps:,}. Below 1 the model of L_hybrid is better. The ensemble takes "
    f"the model of L_vlb for the first and the last {steps // _ENDS} timesteps (of {steps:,}; the paper: 100 of "
    "4,000)."
    + (
      ""
      if scale.table
      else " The models are Figure 7's, since Table 2's L_vlb is trained too briefly "
      "here for its importance sampling to begin."
    ),
    figures=(
      sections.plot(
        draw,
        f"The ratio of the terms of the bound, seed {seed}, each a mean over "
        f"{steps // _WINDOWS} timesteps.",
      ),
      *(
        sections.grid(measurement.picture(output), f"{name}: samples from the same noise.")
        for name, measurement in _grids(scale).items()
      ),
    ),
    tables=(
      sections.Table(
        (
          "model",
          "the paper's NLL (ImageNet-64, 1.5M)",
          "its FID",
          "our NLL",
          "of each seed",
          "our FID",
        ),
        rows,
        "NLL (bits/dim), mean over the seeds; FID of the first seed's, where there are features "
        "of such images.",
      ),
    ),
    claims=(
      claims.Claim(
        11,
        "The ensemble beats both parents in NLL.",
        tuple(
          claims.paired(f"{name} less the ensemble", nll[name], nll[_ENSEMBLE], how)
          for name in (_HYBRID, _VLB)
        ),
      ),
    ),
  )
