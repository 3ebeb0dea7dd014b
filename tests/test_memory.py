"""Models, exports and trainings that are not used any more are freed with their graphs."""

import pathlib
import subprocess
import sys

# In a process of its own, in which no other test keeps a graph.
SCRIPT = """
import gc
import sys

import numpy as np
import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import iddpm_tf as iddpm
from tests import small_model
from tensorflow.python.framework import func_graph


def number_of_graphs():
  gc.collect()
  gc.collect()  # Of graphs whose networks the first one has freed.
  return sum(isinstance(each, func_graph.FuncGraph) for each in gc.get_objects())


def use(folder):
  model = iddpm.load(folder + "/model", progress=False)
  images = model.sample(2, sampler="ddim:2", progress=False)
  model.nll(images, [0, 1], steps=2, progress=False)
  model.encode(images, [0, 1], steps=2, progress=False)
  model.export(folder + "/export", samplers="ddim:2", progress=False)
  iddpm.load(folder + "/export", progress=False).sample(2, progress=False)


folder = sys.argv[1]
small_model.write(folder + "/model", small_model.make_config())
before = number_of_graphs()
use(folder)
images = np.zeros([8, 8, 8, 1], np.uint8)
config = small_model.make_config(num_classes=0, class_conditional=False, train_steps=1)
iddpm.train(config, images=images, model_dir=folder + "/run", progress=False)
print("graphs left:", number_of_graphs() - before)
"""


def test_models_exports_and_trainings_are_freed_after_their_use(tmp_path):
  root = pathlib.Path(__file__).parents[1]
  command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
  result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
  assert result.stdout.strip().endswith("graphs left: 0"), result.stdout
