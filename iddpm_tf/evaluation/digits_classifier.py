"""A small classifier of the embedded digits, whose features score samples without a download.

The weights beside this file were made by `train`.
"""

import os
import pathlib

import keras
import numpy as np

from iddpm_tf.utils import files

WEIGHTS = pathlib.Path(__file__).with_name("digits_classifier.npz")
IMAGE_SHAPE = (8, 8, 1)
NUM_CLASSES = 10
FEATURES = 64
_EPOCHS, _BATCH_SIZE, _SEED = 60, 64, 0


def build() -> keras.Model:
  """Returns an untrained model.

  It maps float images [N, 8, 8, 1] in [-1, 1] to pool [N, 64], spatial features [N, 4, 4, 4] and
  logits [N, 10].
  """
  image = keras.Input(IMAGE_SHAPE)
  x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(image)
  x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)  # [N, 4, 4, 32]
  # A few channels that know where things are, as for sFID.
  spatial = x[..., :4]
  x = keras.layers.Dropout(0.3, seed=_SEED)(keras.layers.Flatten()(x))
  pool = keras.layers.Dense(FEATURES, activation="relu")(x)
  logits = keras.layers.Dense(NUM_CLASSES)(keras.layers.Dropout(0.3, seed=_SEED)(pool))
  return keras.Model(image, [pool, spatial, logits])


def load(path: str | os.PathLike[str] = WEIGHTS) -> keras.Model:
  """Returns the model of `build` with the weights of a file that `save` wrote."""
  model = build()
  with np.load(path, allow_pickle=False) as arrays:
    model.set_weights([arrays[f"arr_{i}"].astype(np.float32) for i in range(len(arrays.files))])
  return model


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
  """Returns a trained model.

  Args:
    images: uint8 [N, 8, 8, 1]. They are moved by up to a pixel, and noise is added.
    labels: int [N].
  """
  keras.utils.set_random_seed(_SEED)
  model = build()
  moved = keras.layers.RandomTranslation(
    0.125, 0.125, fill_mode="constant", fill_value=-1.0, seed=_SEED
  )(model.input)
  classifier = keras.Model(
    model.input, model(keras.layers.GaussianNoise(0.1, seed=_SEED)(moved))[2]
  )
  classifier.compile(
    keras.optimizers.Adam(
      keras.optimizers.schedules.CosineDecay(2e-3, _EPOCHS * len(images) // _BATCH_SIZE)
    ),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
  )
  classifier.fit(images / 127.5 - 1.0, labels, batch_size=_BATCH_SIZE, epochs=_EPOCHS, verbose=0)
  return model


def save(model: keras.Model, path: str | os.PathLike[str]) -> None:
  """Writes the weights of a model of `build`, in half precision."""
  with files.whole(path) as temporary:
    np.savez_compressed(temporary, *(weight.astype(np.float16) for weight in model.get_weights()))


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
  """Returns the fraction of images uint8 [N, 8, 8, 1] whose label int [N] the model predicts."""
  logits = model.predict(images / 127.5 - 1.0, verbose=0)[2]
  return float(np.mean(logits.argmax(axis=-1) == labels))
