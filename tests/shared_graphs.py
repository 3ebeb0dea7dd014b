"""Graphs that several tests use, because tracing them takes most of the time of a test.

Trainings of the same configuration share a state, its traced steps and its sample grids; the state
gets its initial values again. Commands that load the same
model folder share the model. Samplers and bounds of the same network share their graphs. The
digits and their features are loaded once. Nothing else differs from what a user runs,
but for `fixture_unoptimized_graphs`.
"""

import collections
import contextlib
import dataclasses
import functools
import pathlib
import types

from iddpm_tf import api
from iddpm_tf.api import loading
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation.feature_extractors import digits
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import batched_sampling
from iddpm_tf.training import estimates
from iddpm_tf.training import held_out_accuracy
from iddpm_tf.training import loop
from iddpm_tf.training import sample_grids
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import progress as progress_lib

# Settings of a training that its graph does not depend on.
_OUTSIDE_THE_GRAPH = (
  "train_steps",
  "steps_per_call",
  "log_every",
  "sample_every",
  "save_every",
  "keep_checkpoints",
  "keep_every",
  "profile_steps",
  "max_skipped_steps",
  "max_restarts",
)


class SharedGraphs:
  """The graphs, and a context in which they are used."""

  def __init__(self, size: int = 8):
    """Makes an empty collection.

    Args:
      size: the number of trainings and of models to keep.
    """
    self._trainings: collections.OrderedDict[object, _Training] = collections.OrderedDict()
    self._models: collections.OrderedDict[object, _Loaded] = collections.OrderedDict()
    self._graphs: collections.OrderedDict[object, object] = collections.OrderedDict()
    self._size = size

  @contextlib.contextmanager
  def used(self, monkeypatch):
    """Uses the graphs while the block runs."""
    with monkeypatch.context() as patch:
      make_state = types.SimpleNamespace(TrainState=self._make_state)
      patch.setattr(loop, "state_lib", make_state)
      patch.setattr(loop, "make_steps", self._make_steps)
      grids = types.SimpleNamespace(SampleGrids=self._make_grids)
      patch.setattr(loop, "sample_grids", grids)
      accuracies = types.SimpleNamespace(HeldOutAccuracy=self._make_accuracy)
      patch.setattr(loop, "held_out_accuracy", accuracies)
      patch.setattr(features, "load", self._load_features)
      patch.setattr(estimates, "flops_per_second", lambda *_: 1e10)
      patch.setattr(batched_sampling, "BatchedSampler", self._make_batched_sampler)
      patch.setattr(full_sum, "FullSum", self._make_full_sum)
      for module in (api, loading):
        patch.setattr(module, "load_run", self._load)
      patch.setattr(sources, "load", _load_source)
      yield

  def clear(self):
    """Forgets all models, and all trainings but the newest."""
    for cache in (self._models, self._graphs):
      cache.clear()
    while len(self._trainings) > 1:
      self._trainings.popitem(last=False)

  def _make_state(self, config):
    options = dataclasses.asdict(config.training)
    key = (
      config.network,
      config.diffusion,
      config.data.image_shape,
      config.data.num_classes,
      *(value for name, value in options.items() if name not in _OUTSIDE_THE_GRAPH),
    )
    training = _recent(self._trainings, key, self._size)
    if training is None:
      state = state_lib.TrainState(config)
      initial = [variable.numpy() for variable in _variables(state)]
      self._trainings[key] = training = _Training(state, initial)
    else:
      for variable, value in zip(_variables(training.state), training.initial, strict=True):
        variable.assign(value)
      training.state.config = config
    return training.state

  def _make_steps(self, state, strategy, original=loop.make_steps):
    training = self._training_of(state)
    training.steps = training.steps or original(state, strategy)
    return training.steps

  def _make_grids(self, state, source, folder, writer, progress, original=sample_grids.SampleGrids):
    grids = self._training_of(state).grids
    sampling = state.config.sampling
    if sampling not in grids:
      grids[sampling] = original(state, source, folder, writer, progress)
    shared = grids[sampling]
    shared._source, shared._folder = source, folder.samples
    shared._writer, shared._progress = writer, progress
    return shared

  def _make_accuracy(self, state, *args, original=held_out_accuracy.HeldOutAccuracy):
    made, training = original(state, *args), self._training_of(state)
    if made._split is not None:
      training.accuracy_losses = training.accuracy_losses or made._losses
      made._losses = training.accuracy_losses
    return made

  def _load_features(self, text, original=features.load):
    if text != digits.NAME:
      return original(text)
    return self._graph(("features", text), lambda: original(text))

  def _training_of(self, state):
    return next(each for each in self._trainings.values() if each.state is state)

  def _make_batched_sampler(self, model, sampler, original=batched_sampling.BatchedSampler):
    key = (*_graph_key(model), type(sampler), sampler, id(model.strategy))
    return self._graph(key, lambda: original(model, sampler))

  def _make_full_sum(self, model, diffusion=None, original=full_sum.FullSum):
    timesteps = None if diffusion is None else diffusion.process.timestep_map.tobytes()
    return self._graph((*_graph_key(model), timesteps), lambda: original(model, diffusion))

  def _graph(self, key, make):
    if _recent(self._graphs, key, 4 * self._size) is None:
      self._graphs[key] = make()
    return self._graphs[key]

  def _load(self, path, *, progress=True, original=loading.load_run, **options):
    ensemble = options.get("ensemble")
    folders = [path] if ensemble is None else [path, getattr(ensemble, "model_dir", ensemble)]
    changes = options.get("changes") or {}
    key = (
      *map(_fingerprint, folders),
      *sorted((name, repr(value)) for name, value in changes.items()),
      *sorted((name, repr(value)) for name, value in options.items() if name != "changes"),
    )
    progress = progress_lib.make(progress)
    loaded = _recent(self._models, key, self._size)
    if loaded is None:
      recorder = _Recorder()
      loaded = _Loaded(original(path, progress=recorder, **options), recorder.lines)
      self._models[key] = loaded
    for line in loaded.lines:
      progress.say(line)
    return loaded.model


def _load_source(config, split, original=sources.load):
  """Loads data sets of the package once."""
  return _load_embedded(config, split) if config.dataset == "digits" else original(config, split)


@functools.cache
def _load_embedded(config, split, original=sources.load):
  return original(config, split)


@dataclasses.dataclass
class _Training:
  """A state with its initial values, and the graphs that use it."""

  state: state_lib.TrainState
  initial: list
  steps: object = None
  grids: dict = dataclasses.field(default_factory=dict)
  accuracy_losses: object = None


@dataclasses.dataclass
class _Loaded:
  """A model, and the notes of its loading."""

  model: object
  lines: list


class _Recorder(progress_lib.Silent):
  """Keeps the lines that it is told."""

  def __init__(self):
    self.lines = []

  def say(self, text):
    self.lines.append(text)


def _graph_key(model):
  """Returns what the graphs of a model depend on. The graphs keep its networks alive."""
  ends = None if model.ends is None else id(model.ends.network)
  return id(model.network), ends, model.end_steps, model.config


def _recent(cache, key, size):
  """Returns the value of a key, or None. Values that were not used recently are deleted."""
  if key in cache:
    cache.move_to_end(key)
    return cache[key]
  while len(cache) >= size:
    cache.popitem(last=False)
  return None


def _variables(state):
  """Returns all variables of a state."""
  optimizer = state.optimizer
  flat = [state.weights, optimizer.momentum, optimizer.velocity, *state.averages.averages]
  return [
    *(variable.value for variable in state.network.trainable_variables),
    *(values.variable for values in flat),
    optimizer.iterations,
    optimizer.moments_start,
    *state.timestep_sampler.variables,
    *state.guard.variables,
  ]


def _fingerprint(path):
  """Returns what changes when a model folder changes."""
  path = pathlib.Path(path)
  files = [*path.glob("*.json"), *path.glob("checkpoints/*"), *path.glob("best/*")]
  return (
    str(path.resolve()),
    *sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files),
  )
