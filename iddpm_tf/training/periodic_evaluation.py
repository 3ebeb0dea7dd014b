"""Scores during training, of each moving average; and the best checkpoint by one of them."""

import dataclasses
from typing import Any
from typing import Protocol

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.evaluation import results_log
from iddpm_tf.evaluation import scoring
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import checkpoints
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import out_of_range
from iddpm_tf.models import seeds
from iddpm_tf.models import trained_model
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.utils import progress as progress_lib

_BATCH_SIZE = 100  # Images at a time.
# What the scores depend on besides the weights. With another number of samples, for example, a
# score cannot be compared.
_MEASURED = (
  "sampler",
  "num_samples",
  "features_sha256",
  "reference_sha256",
  "num_examples",
  "num_examples_train",
  "num_timesteps",
  "decoder",
  "clip_denoised",
  "dynamic_threshold",
  "truncate",
  "guidance_scale",
  "guidance_interval",
)


class Stop(Protocol):
  """Something that says whether the training is to stop; `signal` is then not None."""

  signal: Any


class PeriodicEvaluation:
  """The evaluations of a run, as its `EvaluationConfig` says.

  All rates of the moving averages are scored with the same noise, so that results differ only by
  the rate (Figure 17). The noise is that of the training's seed, as in an evaluation with this
  seed: runs that differ only by their seed have scores with independent noise.
  """

  def __init__(
    self,
    state: state_lib.TrainState,
    source: sources.Source,
    folder: model_dir_lib.ModelDir,
    strategy: tf.distribute.Strategy,
    progress: progress_lib.Progress,
  ):
    """Checks the settings and loads the data, so that errors come before anything is written.

    Args:
      state: the state of the training.
      source: the training images.
      folder: the model folder.
      strategy: the devices, which draw images.
      progress: shows the evaluations.

    Raises:
      InputError: a setting of the evaluation is wrong.
    """
    self._state, self._folder = state, folder
    self._writer: tensorboard.Writer | None = None
    self._kinds: list[_Kind] = []
    options = state.config.evaluation
    if not options.eval_every:
      if options.best_score is not None:
        raise settings.InputError("best_score", "requires eval_every")
      return
    folder.read_best()  # A damaged file would stop the run at its first evaluation.
    # The network takes one set of weights after the other.
    self._model = trained_model.TrainedModel(
      folder, state.config, state.network, step=0, ema=0.0, strategy=strategy
    )
    names = {"num_samples": "eval_samples", "features": "eval_features"}
    names |= {"reference": "eval_reference", "nll_steps": "eval_nll_steps"}
    with settings.renamed(names):
      if set(options.eval_scores) & set(config_lib.LIKELIHOODS):
        self._kinds.append(_Likelihoods(self._model, source, progress))
      if set(options.eval_scores) - set(config_lib.LIKELIHOODS):
        self._kinds.append(_SampleScores(self._model, source, progress))

  def begin(self, writer: tensorboard.Writer) -> None:
    """Computes what is missing, such as a reference of the training images.

    Args:
      writer: shows the scores in TensorBoard.
    """
    self._writer = writer
    for kind in self._kinds:
      kind.begin()

  def missed(self, step: int) -> bool:
    """Returns whether the evaluation that was due at a step was not finished."""
    if not is_due(self._state.config, step):
      return False
    done = {
      line.get("ema")
      for line in results_log.read(self._folder.path)
      if line.get("training_step") == step and line.get("in_training")
    }
    return not set(self._weight_sets()) <= done

  def run(self, step: int, stop: Stop) -> None:
    """Scores each moving average, and keeps the checkpoint if it is the best.

    Without moving averages, the raw weights are scored. If `stop.signal` is set meanwhile, nothing
    is kept, and the resumed run evaluates again.

    Args:
      step: the step of the weights.
      stop: says whether to stop.
    """
    results = []
    for rate, values in self._weight_sets().items():
      self._state.load_into_network(values)
      model = dataclasses.replace(self._model, step=step, ema=rate)
      result: dict[str, Any] = {"scores": {}}
      seed = self._state.config.training.seed
      result |= results_log.describe_model(model, seed=seed) | {"in_training": True}
      for kind in self._kinds:
        part = kind.score(model, stop)
        if part is None:
          return
        result |= part | {"scores": result["scores"] | part["scores"]}
      results.append(result)
    # The checkpoint comes first: once there are results, a resumed run does not evaluate again.
    name = self._state.config.evaluation.best_score
    if name:
      candidates = [
        model_dir_lib.Best(name, result["scores"][name], step, result["ema"], _measured(result))
        for result in results
      ]
      checkpoints.keep_if_better(candidates, self._state, self._folder)
    results_log.append(self._folder.path, *results)
    assert self._writer is not None, "an evaluation before `begin`"
    for result in results:
      weights = _weights_name(result["ema"])
      values = result["scores"] | result.get("out_of_range", {})
      self._writer.write_values(values, "evaluation", weights, step)

  def _weight_sets(self):
    averages = self._state.averages
    return {rate: averages.at_rate(rate) for rate in averages.rates} or {0.0: self._state.weights}


class _Kind(Protocol):
  """One kind of scores."""

  def begin(self) -> None:
    """Computes what is missing."""

  def score(self, model: trained_model.TrainedModel, stop: Stop) -> dict[str, Any] | None:
    """Returns a result, or None if it was stopped. The model's network holds the weights."""


class _SampleScores:
  """Scores of images that the first sampler draws."""

  def __init__(self, model, source, progress):
    options = model.config.evaluation
    self._source, self._count, self._progress = source, options.eval_samples, progress
    self._scoring = scoring.prepare(
      tuple(name for name in config_lib.SCORES if name in options.eval_scores),
      model.config.image_shape,
      features=options.eval_features,
      reference=options.eval_reference,
      num_samples=self._count,
    )
    self._config, self._folder = model.config, model.folder
    self._scorer: scoring.Scorer | None = None
    self._sampler = batched_sampling.parse_samplers(model.config)[0]
    self._batched = batched_sampling.BatchedSampler(model, self._sampler)

  def begin(self):
    self._scorer = self._scoring.with_reference_of(
      self._config,
      self._folder,
      source=self._source,
      batch_size=_BATCH_SIZE,
      progress=self._progress,
    )

  def score(self, model, stop):
    first_seed = seeds.first_of_set(model.config.training.seed)
    inputs = seeds.make_inputs(self._count, seed=first_seed, num_classes=model.config.num_classes)
    images = []
    for batch in self._batched.batches(inputs, batch_size=_BATCH_SIZE, progress=self._progress):
      images.append(batch)
      if stop.signal:
        return None
    assert self._scorer is not None, "scores before `begin`"
    result = self._scorer.score(np.concatenate(images))
    outside = self._batched.out_of_range()
    if out_of_range.is_large(outside):
      text = out_of_range.describe(self._config, outside)
      self._progress.say(f"evaluation at step {model.step}, {_weights_name(model.ema)}: {text}")
    result["out_of_range"] = out_of_range.shares(self._config, outside)
    return result | results_log.describe_sampler(model, self._sampler)


class _Likelihoods:
  """The bound of test images, of training images, or of both (Figure 16)."""

  def __init__(self, model, source, progress):
    config, options = model.config, model.config.evaluation
    self._progress = progress
    self._sources = {
      name: _source_of(split, source, config, model.folder, progress)
      for name, split in config_lib.LIKELIHOODS.items()
      if name in options.eval_scores
    }
    self._count = options.eval_examples  # 0 means all.
    diffusion = full_sum.respaced_diffusion(config.diffusion, options.eval_nll_steps)
    self._full_sum = full_sum.FullSum(model, diffusion)

  def begin(self):
    """Does nothing: nothing is missing."""

  def score(self, model, stop):
    scores, counts = {}, {}
    for name, source in self._sources.items():
      counts[name] = self._count or len(source.images)
      totals = []
      batches = self._full_sum.batches(
        source.images,
        source.labels if model.config.num_classes else None,
        count=counts[name],
        seed=model.config.training.seed,
        batch_size=_BATCH_SIZE,
        progress=self._progress,
      )
      for bits in batches:
        totals.append(bits.total)
        if stop.signal:
          return None
      scores[name] = float(np.mean(np.concatenate(totals), dtype=np.float64))
    examples = {name.replace("nll", "num_examples"): count for name, count in counts.items()}
    return {
      "scores": scores,
      **examples,
      "num_timesteps": self._full_sum.diffusion.num_timesteps,
      "decoder": model.config.diffusion.decoder,
    }


def is_due(config: config_lib.Config, step: int) -> bool:
  """Returns whether there is an evaluation after a step: at regular intervals and at the end."""
  every = config.evaluation.eval_every
  return bool(every) and step > 0 and (step % every == 0 or step == config.training.train_steps)


def _measured(result):
  return {name: result[name] for name in _MEASURED if name in result}


def _source_of(split, training, config, folder, progress):
  """Returns the images of a likelihood, of which there are enough."""
  source = training
  if split == "test":
    if config.data.dataset == sources.ARRAYS:
      message = "expected no nll, because a run on arrays has no test split, received nll"
      raise settings.InputError("eval_scores", f"{message}; nll_train is of the training images")
    split = sources.choosing_split(config.data)
    source = sources.load(config.data, split)
    if split == "val":
      progress.say("nll in training is of the val split; the test split is for reporting")
    sources.say_notes(source, progress)
    model_dir_lib.require_same_data(config, source, folder.path)
  available, count = len(source.images), config.evaluation.eval_examples
  settings.require(
    count <= available,
    "eval_examples",
    f"at most {available}, the number of {split} images of {source.name}",
    count,
  )
  return source


def _weights_name(rate):
  """Returns the name of an average, or of the raw weights, in TensorBoard and in lines."""
  return f"ema_{rate}" if rate else "raw"
