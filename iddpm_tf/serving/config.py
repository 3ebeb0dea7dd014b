"""Settings of an export. This module needs no TensorFlow."""

import dataclasses

from iddpm_tf import settings

MAX_REQUEST_IMAGES = 64  # The limit in templates/batching_parameters.txt.


@dataclasses.dataclass(frozen=True)
class ServableConfig:
  """What an exported model offers besides images.

  Attributes:
    png: whether each sampler also has a signature `png_NAME`, which returns PNG files.
    edit: whether each sampler also has a signature `edit_NAME`, which draws a part of a picture.
    trajectory: the number of frames that a signature `NAME_trajectory` of each sampler returns, or
      0 for no such signature.
    warmup: the numbers of images in the requests that a server replays before a version answers.
  """

  png: bool = settings.setting(
    True, "export a second signature of each sampler, png_NAME, which returns PNG files"
  )
  edit: bool = settings.setting(
    False,
    "export a further signature of each sampler, edit_NAME, which draws the pixels of a mask, or a "
    "picture from a noise level on",
  )
  trajectory: int = settings.setting(
    0,
    "number of frames, from noise to image, in a signature NAME_trajectory of each sampler; "
    "0: no such signature",
  )
  warmup: tuple[int, ...] = settings.setting(
    (1,),
    "numbers of images in the requests that a server replays before it answers; empty: no requests",
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require(
      self.trajectory == 0 or self.trajectory > 1,
      "trajectory",
      "0 or at least 2 frames",
      self.trajectory,
    )
    settings.require(
      all(0 < count <= MAX_REQUEST_IMAGES for count in self.warmup),
      "warmup",
      f"numbers from 1 to {MAX_REQUEST_IMAGES}, the largest request of a server",
      self.warmup,
    )
