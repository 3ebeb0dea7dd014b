"""The features of a network that somebody exported as a SavedModel."""

from collections.abc import Mapping
import pathlib

import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.evaluation.feature_extractors import base


@registries.FEATURE_EXTRACTORS.register("saved_model")
class SavedModel(base.FeatureExtractor):
  """A SavedModel, chosen by its folder.

  Its `serving_default` takes `image`, uint8 [N, H, W, 1 or 3], and returns `pool`, float [N, D],
  and perhaps `spatial`, float [N, ...], and `probabilities`, float [N, K].
  """

  accepted_texts = "the folder of a SavedModel"

  def __init__(self, text: str):
    """Loads the SavedModel.

    Args:
      text: its folder.

    Raises:
      InputError: there is none in the folder, or one with other inputs and outputs.
    """
    folder = pathlib.Path(text)
    try:
      self._loaded = tf.saved_model.load(text)  # It owns the variables of the signature.
      self._function = self._loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
      raise settings.InputError(
        "features",
        f"expected a SavedModel with serving_default, received {folder} "
        f"({str(error).splitlines()[0]})",
      ) from None
    spec = _image_spec(folder, self._function)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    super().__init__(folder.name, image_shape=tuple(spec.shape[1:]), files=files)

  @classmethod
  def accepts(cls, text: str) -> bool:
    """Returns whether a text is the path of a folder."""
    return pathlib.Path(text).is_dir()

  def compute(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns the outputs of `serving_default`."""
    return self._function(image=images)


def _image_spec(folder: pathlib.Path, function) -> tf.TensorSpec:
  """Returns the specification of the images that a signature takes, after all checks."""
  inputs = function.structured_input_signature[1]
  outputs = function.structured_outputs
  spec = inputs.get("image")
  fits = (
    len(inputs) == 1
    and spec is not None
    and spec.dtype == tf.uint8
    and spec.shape.rank == 4
    and spec.shape[-1] in (1, 3)
    and "pool" in outputs
  )
  if not fits:
    raise settings.InputError(
      "features",
      "expected a SavedModel that maps 'image', uint8 [N, H, W, 3], to 'pool', float [N, D], "
      f"received {folder}, which maps {', '.join(map(str, inputs.values()))} to "
      f"{', '.join(outputs)}",
    )
  return spec
