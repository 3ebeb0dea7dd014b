"""The work of `trainers.reference_stats`: features of real images, as a stream and as a file of statistics."""

import numpy as np

import iddpm_tf
from iddpm_tf.evaluation import reference
from iddpm_tf.evaluation import scores
from iddpm_tf.utils import progress


def summary(images, extractor, wanted, batch_size, name, positions=None):
  """The `Summary` of images that can be indexed, with a bar; of int [N] `positions`, or of all.

  `ValueError` as `scores.summarise`; `name` says whose features they are, there and on the bar.
  """
  positions = np.arange(len(images)) if positions is None else positions
  with progress.bar(total=len(positions), unit="image", description=name) as bar:

    def batches():
      for start in range(0, len(positions), batch_size):
        batch = np.asarray(images[positions[start : start + batch_size]])
        yield extractor(batch)
        bar.update(len(batch))

    return scores.summarise(batches(), wanted, name)


def evenly(count, of):
  """int [count]: so many positions evenly over `of`; 0, or more than there are: all of them."""
  return np.arange(of) if not 0 < count < of else np.arange(count) * of // count


def write(path, source, extractor, *, split, count=0, kept=0, batch_size=100):
  """Writes the statistics of `count` images of a `Source` (0: all), and `kept` of the images."""
  positions = evenly(count, len(source.images))
  spatial = extractor(np.asarray(source.images[:1])).spatial is not None
  found = summary(
    source.images,
    extractor,
    scores.Wanted(fid=True, sfid=spatial),
    batch_size,
    f"features of {source.name}",
    positions,
  )
  # Those of a folder stand class by class: every so many-th is of every class.
  images = source.images[positions[evenly(kept, len(positions))]] if kept else source.images[:0]
  reference.write(
    path,
    pool=found.pool.gaussian,
    spatial=found.spatial.gaussian if spatial else None,
    images=images,
    about={
      "dataset": source.name,
      "split": split,
      "num_examples": len(positions),
      "features": extractor.name,
      "features_sha256": extractor.checksum,
      "version": iddpm_tf.__version__,
    },
  )
