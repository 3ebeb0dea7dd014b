"""Samplers by their text, their timesteps, and samplers that are registered from outside."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import ancestral
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import dpmpp_2m
from iddpm_tf.diffusion.samplers import heun_churn
from tests.diffusion.samplers import gaussian_data


@pytest.mark.parametrize(
  "text, sampler, name",
  [
    ("ancestral", ancestral.Ancestral(), "ancestral"),
    ("ancestral:250", ancestral.Ancestral(250), "ancestral_250"),
    ("ddim", ddim.DDIM(), "ddim"),
    ("ddim:50", ddim.DDIM(50), "ddim_50"),
    ("ddim:50:0", ddim.DDIM(50), "ddim_50"),
    ("ddim:50:0.5", ddim.DDIM(50, 0.5), "ddim_50_0.5"),
    ("ddim:all:0.5", ddim.DDIM(eta=0.5), "ddim_all_0.5"),
    ("ddim:1:1", ddim.DDIM(1, 1.0), "ddim_1_1.0"),
    ("ancestral:4:skip0.5", ancestral.Ancestral(4, skipped=0.5), "ancestral_4_skip0.5"),
    ("ddim:4:0.5:skip0.25", ddim.DDIM(4, 0.5, skipped=0.25), "ddim_4_0.5_skip0.25"),
    ("ancestral:skip0.95", ancestral.Ancestral(skipped=0.95), "ancestral_skip0.95"),
    ("ddim:50:uniform", ddim.DDIM(50, spacing="uniform"), "ddim_50_uniform"),
    (
      "ddim:9:0.5:rho3:skip0.5",
      ddim.DDIM(9, 0.5, skipped=0.5, spacing="rho3"),
      "ddim_9_0.5_rho3_skip0.5",
    ),
    ("dpmpp_2m:10", dpmpp_2m.DPMSolverPP2M(10), "dpmpp_2m_10"),
    ("dpmpp_2m:10:logsnr", dpmpp_2m.DPMSolverPP2M(10, spacing="logsnr"), "dpmpp_2m_10_logsnr"),
    ("heun_churn:18:30:0.1", heun_churn.HeunChurn(18, 30.0, 0.1), "heun_churn_18_30.0_0.1"),
  ],
)
def test_a_text_describes_a_sampler(text, sampler, name):
  assert base.parse(text) == sampler
  assert str(sampler) == name
  assert base.parse(sampler.to_text()) == sampler


@pytest.mark.parametrize(
  "text",
  [
    "",
    "ddpm",
    "DDIM:50",
    "ancestral:",
    "ancestral:0",
    "ancestral:-5",
    "ancestral:x",
    "ancestral:2.5",
    "ancestral:50:0",
    "ancestral:all:0",
    "ddim:50:",
    "ddim:50:0:0",
    "ddim::0.5",
    ":50",
    "ancestral:4:skip1",
    "ddim:4:skip-0.1",
    "ancestral:skip",
    "ancestral:4:skip0.1:5",
    "ancestral:logsnr",
    "ancestral:4:logsnr:0.5",
    "ancestral:4:rho0",
    "ancestral:4:rhox",
  ],
)
def test_other_texts_are_refused(text):
  message = f"^samplers: expected .*:skipSHARE.*, received {re.escape(repr(text))}$"
  with pytest.raises(settings.InputError, match=message):
    base.parse(text)


@pytest.mark.parametrize("eta", ["-0.1", "1.1", "nan"])
def test_an_eta_outside_0_to_1_is_refused(eta):
  with pytest.raises(settings.InputError, match=r"^samplers: expected eta in \[0, 1\], received"):
    base.parse(f"ddim:50:{eta}")


@pytest.mark.parametrize("values", [{"steps": 0}, {"skipped": 1.0}, {"skipped": -0.1}])
def test_a_sampler_checks_its_fields(values):
  with pytest.raises(settings.InputError, match=r"^samplers: expected "):
    ancestral.Ancestral(**values)


def test_each_sampler_has_its_own_timesteps():
  diffusion = gaussian_data.make_diffusion(100)
  assert base.parse("ddim").respace(diffusion).num_timesteps == 100
  for text, expected in (("ancestral:4", [0, 33, 66, 99]), ("ddim:4", [0, 25, 50, 75])):
    respaced = base.parse(text).respace(diffusion)
    np.testing.assert_array_equal(respaced.process.timestep_map, expected)
  message = r"^samplers: expected at most 100 steps.*received ddim:101$"
  with pytest.raises(settings.InputError, match=message):
    base.parse("ddim:101").respace(diffusion)


@pytest.mark.parametrize(
  "text, kept",
  [
    ("ancestral:4:skip0.5", [0, 33]),
    ("ddim:4:0:skip0.25", [0, 25, 50]),
    ("ancestral:4:skip0.9", [0]),
    ("ancestral:skip0.95", [0, 1, 2, 3, 4]),
  ],
)
def test_the_noisiest_steps_are_skipped(text, kept):
  sampler, diffusion = base.parse(text), gaussian_data.make_diffusion(100)
  process = sampler.respace(diffusion).process
  np.testing.assert_array_equal(process.timestep_map, kept)
  assert sampler.num_steps(100) == len(kept)
  # The steps that are left are the same as without skipping.
  whole = dataclasses.replace(sampler, skipped=0.0)
  betas = whole.respace(diffusion).process.betas
  np.testing.assert_array_equal(process.betas, betas[: len(kept)])
  assert str(sampler) == f"{whole}_skip{sampler.skipped}"


@pytest.mark.usefixtures("temporary_registrations")
def test_a_sampler_that_is_registered_from_outside_is_used_by_its_name():
  @registries.SAMPLERS.register("shrinking")
  @dataclasses.dataclass(frozen=True)
  class Shrinking(base.Sampler):
    """Multiplies x_t by a constant factor."""

    name = "shrinking"

    factor: float = 0.5
    power: float = 1.0

    def step(self, diffusion, prediction, x_t, t, noise):
      return x_t * self.factor**self.power

  assert "shrinking" in registries.SAMPLERS.names()
  config = config_lib.Config.from_settings(samplers=("shrinking:3:0.25", "ddim:5"))
  assert config_lib.Config.from_json(config.to_json()) == config
  sampler = base.parse(config.sampling.samplers[0])
  assert sampler == Shrinking(3, 0.25) and str(sampler) == "shrinking_3_0.25"
  image = gaussian_data.draw_toy("shrinking:3:0.25").image
  np.testing.assert_allclose(image, gaussian_data.make_noise()(tf.constant(0)) / 64, rtol=1e-6)
  # An own field is written where a later one is not at its default.
  assert Shrinking(3, power=2.0).to_text() == "shrinking:3:0.5:2.0"
  message = r"expected shrinking\[:STEPS\]\[:FACTOR\]\[:POWER\]\[:SPACING\]\[:skipSHARE\], received"
  with pytest.raises(settings.InputError, match=message):
    base.parse("shrinking:3:1:2:3")
