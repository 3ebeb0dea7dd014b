"""Two models in a row (Appendix C): one draws small images, and an upsampler enlarges them."""

from iddpm_tf import config as config_lib
from iddpm_tf import settings


def require_fit(
  base: config_lib.Config, upsampler: config_lib.Config, name: str = "the upsampler"
) -> None:
  """Checks that an upsampler enlarges the images of a base model.

  Args:
    base: the configuration of the model that draws small images.
    upsampler: the configuration of the super-resolution model.
    name: the upsampler's folder, for errors.

  Raises:
    InputError: one of them is another kind of model, or they have other images or classes.
  """
  if base.low_res_shape:
    raise settings.InputError(
      "model_dir",
      "expected a model that draws from noise alone before an upsampler, received one that "
      f"enlarges images of {_size(base.low_res_shape)} itself",
    )
  if not upsampler.low_res_shape:
    raise settings.InputError(
      "upsampler_dir",
      f"expected a super-resolution model (trained with low_res_size), received {name}, which "
      "draws from noise alone",
    )
  if upsampler.low_res_shape != base.data.image_shape:
    raise settings.InputError(
      "upsampler_dir",
      f"expected an upsampler of images of {_size(base.data.image_shape)}, received {name}, which "
      f"enlarges {_size(upsampler.low_res_shape)}",
    )
  if upsampler.num_classes not in (0, base.num_classes):
    raise settings.InputError(
      "upsampler_dir",
      f"expected {base.num_classes} classes, as the base model has, or none, received {name}, "
      f"which has {upsampler.num_classes}",
    )


def _size(shape):
  return "x".join(map(str, shape))
