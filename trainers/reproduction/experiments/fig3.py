"""Figure 3: latents of both schedules."""

import io

import numpy as np
from PIL import Image

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.diffusion import schedules
from trainers.reproduction import sections

_STEPS, _COLUMNS, _SIZE = 4000, 10, 64


def needs(scale):
  """Nothing: a fact of the schedules, shown on embedded photographs at every scale."""
  del scale
  return ()


def show(scale, output):
  """Figure 3."""
  del scale, output
  source = sources.load(config_lib.DataConfig(dataset="photos", image_size=_SIZE), "test")
  photographs = [source.images[np.flatnonzero(source.labels == label)[:1]][0] for label in (0, 1)]
  rows = [
    list(latents(photograph, schedule))
    for photograph in photographs
    for schedule in ("linear", "cosine")
  ]
  picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])  # [4 H, columns W, 3]
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, format="png")
  return sections.Section(
    "Figure 3: latents of both schedules",
    "The latents in the last quarter of the linear schedule are almost purely noise; the cosine schedule adds noise "
    "more slowly.",
    figures=(
      sections.Figure(
        buffer.getvalue(),
        "Two test crops; above with the linear, below with the cosine "
        f"schedule: x_t at evenly spaced t from 0 to T = {_STEPS:,}.",
        pixelated=True,
      ),
    ),
  )


def latents(image, schedule):
  """Yields uint8 [H, W, 3] at evenly spaced t, of uint8 [H, W, 3], Eq. 9; the noise is the same at each."""
  alphas_cumprod = np.cumprod(1 - schedules.make_betas(schedule, _STEPS))
  noise = np.random.RandomState(0).normal(size=image.shape)
  x_start = image / 127.5 - 1
  for t in np.linspace(0, _STEPS - 1, _COLUMNS).astype(int):
    x_t = np.sqrt(alphas_cumprod[t]) * x_start + np.sqrt(1 - alphas_cumprod[t]) * noise
    yield np.clip((x_t + 1) * 127.5, 0, 255).astype(np.uint8)
