"""Figure 3: latents of both schedules."""

from collections.abc import Iterator
import io
import pathlib

import numpy as np
from PIL import Image

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.diffusion.schedules import base as schedules
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction.experiments import base

_STEPS, _COLUMNS, _SIZE = 4000, 10, 64


@experiments.EXPERIMENTS.register("fig3")
class Figure3(base.Experiment):
  """Noisy versions of two photographs, which come with the package, at every scale."""

  title = "Figure 3: latents of both schedules"

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns a picture of the latents."""
    del scale, output  # The latents depend on the schedules only.
    source = sources.load(config_lib.DataConfig(dataset="photos", image_size=_SIZE), "test")
    photographs = [source.images[np.flatnonzero(source.labels == label)[:1]][0] for label in (0, 1)]
    rows = [
      list(latents(photograph, schedule))
      for photograph in photographs
      for schedule in ("linear", "cosine")
    ]
    # [4 H, columns W, 3]
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    caption = (
      "Crops of two test images, each with the linear schedule above and the cosine schedule "
      f"below: x_t at evenly spaced t from 0 to T = {_STEPS:,}."
    )
    return sections.Section(
      "In the last quarter of the linear schedule the latents are almost pure noise. The cosine "
      "schedule adds noise more slowly.",
      figures=(sections.Figure(buffer.getvalue(), caption, pixelated=True),),
    )


def latents(image: np.ndarray, schedule: str) -> Iterator[np.ndarray]:
  """Yields x_t (Eq. 9) at evenly spaced t, with the same noise at each t.

  Args:
    image: x_0, uint8 `[H, W, 3]`.
    schedule: the name of the noise schedule.

  Yields:
    Images of x_t, uint8 `[H, W, 3]`.
  """
  alphas_cumprod = np.cumprod(1 - schedules.make_betas(schedule, _STEPS))
  noise = np.random.RandomState(0).normal(size=image.shape)
  x_start = image / 127.5 - 1
  for t in np.linspace(0, _STEPS - 1, _COLUMNS).astype(int):
    x_t = np.sqrt(alphas_cumprod[t]) * x_start + np.sqrt(1 - alphas_cumprod[t]) * noise
    yield np.clip((x_t + 1) * 127.5, 0, 255).astype(np.uint8)
