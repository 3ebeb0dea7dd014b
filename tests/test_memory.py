"""Models, exports and trainings that are not used any more are freed with their graphs."""

import gc
import weakref

import numpy as np
from tensorflow.python.framework import func_graph

import iddpm_tf as iddpm
from tests import small_model


def graphs():
  """Returns the graphs that are in use. Graphs of networks that are freed are freed after them."""
  for _ in range(2):
    gc.collect()
  return [each for each in gc.get_objects() if isinstance(each, func_graph.FuncGraph)]


def use(folder):
  model = iddpm.load(folder / "model", progress=False)
  images = model.sample(2, sampler="ddim:2", progress=False)
  model.nll(images, [0, 1], steps=2, progress=False)
  model.encode(images, [0, 1], steps=2, progress=False)
  model.export(folder / "export", samplers="ddim:2", progress=False)
  iddpm.load(folder / "export", progress=False).sample(2, progress=False)
  images = np.zeros([8, 8, 8, 1], np.uint8)
  config = small_model.make_config(num_classes=0, class_conditional=False, train_steps=1)
  iddpm.train(config, images=images, model_dir=folder / "run", progress=False)


def test_models_exports_and_trainings_are_freed_after_their_use(tmp_path):
  small_model.write(tmp_path / "model", small_model.make_config())
  before = weakref.WeakSet(graphs())
  use(tmp_path)
  assert [graph.name for graph in graphs() if graph not in before] == []
