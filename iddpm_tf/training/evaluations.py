"""Scores in training: of each moving average, to TensorBoard and `results.jsonl`; the best
checkpoint.
"""

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import reference as reference_lib
from iddpm_tf.evaluation import results_log as results
from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation import scoring
from iddpm_tf.evaluation.nll import full_sum as nll
from iddpm_tf.models import best_checkpoint as best
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir
from iddpm_tf.models import seeds as samples
from iddpm_tf.models import trained_model
from iddpm_tf.utils import devices as strategy_lib
from iddpm_tf.utils import progress

_BATCH_SIZE = 100  # Images at a time.


class Evaluations:
  """The evaluations of a run, as its `EvaluationConfig` says.

  All rates of the moving averages are scored by the same seeds: what differs is the rate (Figure
  17).
  """

  def __init__(self, state, folder, strategy):
    """Checks and loads what is there, so that what is wrong is said before anything is written.

    Args:
      state: a `TrainState`.
      folder: the model folder.
      strategy: a `tf.distribute.Strategy`.
    """
    self._state, self._folder, self._writer = state, folder, None
    self.options, self._kinds = state.config.evaluation, []
    if not self.options.eval_every:
      settings.require(
        self.options.best_score is None,
        "best_score",
        "nothing without --eval_every",
        self.options.best_score,
      )
      return
    best.read(folder)  # A damaged one would stop the run once there is a score.
    with strategy.scope():
      network = networks.build_network(state.config)
    # One network takes one set of weights after the other.
    self._model = trained_model.TrainedModel(folder, state.config, network, step=0, ema=0.0)
    wanted, likelihoods = set(self.options.eval_scores), set(config_lib.LIKELIHOODS)
    makers = [_Likelihood] * bool(wanted & likelihoods) + [_SampleScores] * bool(
      wanted - likelihoods
    )
    with settings.renamed(
      {"num_samples": "eval_samples", "features": "eval_features", "reference": "eval_reference"}
    ):
      self._kinds = [make(self._model, strategy) for make in makers]

  def begin(self, writer):
    """Computes what is missing, in the model folder; curves go to a `summaries.Writer`."""
    self._writer = writer
    for kind in self._kinds:
      kind.begin()

  def due(self, step):
    """Whether there is one after this step: every so many, and at the end."""
    options = self._state.config
    last = step == options.training.train_steps
    return (
      bool(self.options.eval_every) and step > 0 and (last or step % self.options.eval_every == 0)
    )

  def missed(self, step):
    """Whether a run that was stopped at this step had not finished the evaluation that was due."""
    if not self.due(step):
      return False
    done = {
      line.get("ema")
      for line in results.read(self._folder)
      if line.get("training_step") == step and line.get("in_training")
    }
    return not set(self._rates()) <= done

  def run(self, step, stop):
    """Scores each moving average (the raw weights where there is none) and keeps the checkpoint if
    it is the best.

    Nothing comes of it once `stop.signal` is set: a resumed run does it again.
    """
    found = []
    for rate, values in self._rates().items():
      for variable, value in zip(self._model.network.trainable_variables, values, strict=True):
        variable.assign(value)
      model = self._model._replace(step=step, ema=rate)
      result = {"scores": {}} | results.of_model(model, seed=0) | {"in_training": True}
      for kind in self._kinds:
        part = kind.score(model, stop)
        if part is None:
          return
        result |= part | {"scores": result["scores"] | part["scores"]}
      found.append(result)
    # First the checkpoint: once there are results, a resumed run does not evaluate again.
    if name := self.options.best_score:
      best.keep_if_better(
        [
          best.Best(name, result["scores"][name], step, result["ema"], _measured(result))
          for result in found
        ],
        self._state,
        self._folder,
      )
    results.append(self._folder, *found)
    for result in found:
      self._writer.write_scores(
        result["scores"], f"ema_{result['ema']}" if result["ema"] else "raw", step
      )

  def _rates(self):
    averages = self._state.averages
    weights = [variable.value for variable in self._state.network.trainable_variables]
    return {rate: averages.at_rate(rate) for rate in averages.rates} or {0.0: weights}


def _measured(result):
  """What scores depend on besides the weights: another number of samples, say, is another scale."""
  names = (
    "sampler",
    "num_samples",
    "features_sha256",
    "reference_sha256",
    "num_examples",
    "num_examples_train",
    "num_timesteps",
    "decoder",
    "clip_denoised",
  )
  return {name: result[name] for name in names if name in result}


class _SampleScores:
  """Scores of images that the first of --samplers draws."""

  def __init__(self, model, strategy):
    config, options = model.config, model.config.evaluation
    self._model, self._count = model, options.eval_samples
    self._wanted = scores.Wanted(
      **{name: name in options.eval_scores for name in config_lib.SCORES}
    )
    self._extractor = features.for_images(options.eval_features, config.data.image_shape)
    self._reference = (
      reference_lib.read(options.eval_reference) if options.eval_reference else reference_lib.NONE
    )
    scoring.require_fit(
      self._wanted, self._extractor, self._reference, config.data.image_shape, self._count
    )
    self._scorer = None
    self._spec = samples.require_samplers(config)[0]
    # Its graph is traced once.
    self._sampler = image_sampler.ImageSampler(config, model.network, self._spec)
    self._draw = strategy_lib.over_replicas(strategy, self._sampler.draw)

  def begin(self):
    """Loads the reference; of the training images, it is computed once."""
    reference = scoring.reference_of(
      self._wanted,
      self._extractor,
      self._reference,
      self._model.config,
      self._model.folder,
      _BATCH_SIZE,
    )
    self._scorer = scoring.Scorer(self._wanted, self._extractor, reference, _BATCH_SIZE)

  def score(self, model, stop):
    """A result, as a dictionary; None if it was stopped."""
    seeds, labels = samples.order(self._count, model.config.num_classes)
    inputs = {"seed": seeds, "label": labels}
    arrays = [inputs[tensor.name] for tensor in self._sampler.input_signature()]
    images = []
    with progress.bar(
      total=self._count, unit="image", description=f"samples of EMA {model.ema}"
    ) as bar:
      for start in range(0, self._count, _BATCH_SIZE):
        images.append(self._draw(*(array[start : start + _BATCH_SIZE] for array in arrays)))
        bar.update(len(images[-1]))
        if stop.signal:
          return None
    return self._scorer.score(np.concatenate(images), self._count) | results.of_sampler(
      model, self._spec
    )


class _Likelihood:
  """The bound of test images, of training images, or of both (Figure 16), by Appendix E's schedule.
  """

  def __init__(self, model, strategy):
    del strategy  # On one device.
    config, options = model.config, model.config.evaluation
    self._sources = {
      name: _source(config, config_lib.LIKELIHOODS[name], model.folder)
      for name in config_lib.LIKELIHOODS
      if name in options.eval_scores
    }
    self._count = options.eval_examples  # 0: all.
    settings.require(
      options.eval_nll_steps <= config.diffusion.diffusion_steps,
      "eval_nll_steps",
      f"at most the model's {config.diffusion.diffusion_steps}",
      options.eval_nll_steps,
    )
    self._process = nll.process_of(config.diffusion, options.eval_nll_steps, "dense_start")
    self._function = nll.function_of(model, self._process)

  def begin(self):
    """Nothing is missing."""

  def score(self, model, stop):
    """A result, as a dictionary; None if it was stopped."""
    found, counts = (
      {},
      {name: self._count or len(source.images) for name, source in self._sources.items()},
    )
    for name, source in self._sources.items():
      totals = []
      for bits in nll.bits_of_batches(
        self._function, source, counts[name], seed=0, batch_size=_BATCH_SIZE
      ):
        totals.append(bits.total)
        if stop.signal:
          return None
      found[name] = float(np.mean(np.concatenate(totals), dtype=np.float64))
    examples = {name.replace("nll", "num_examples"): count for name, count in counts.items()}
    return {
      "scores": found,
      **examples,
      "num_timesteps": self._process.num_timesteps,
      "decoder": model.config.diffusion.decoder,
    }


def _source(config, split, folder):
  """A split, of which there are --eval_examples."""
  source = sources.load(config.data, split)
  model_dir.require_same_data(config, source, folder)
  available, count = len(source.images), config.evaluation.eval_examples
  settings.require(
    count <= available,
    "eval_examples",
    f"at most {available}, the {split} images of {source.name}",
    count,
  )
  return source
