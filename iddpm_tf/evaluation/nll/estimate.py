"""The work of `trainers.evaluate --nll --nll_stderr`: the full sum estimated from a part of its terms."""

import numpy as np
import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import likelihood_estimator as likelihood_budget
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import samplers
from iddpm_tf.evaluation.nll import results as nll_results
from iddpm_tf.utils import progress

# Of the noise: evaluations are numbered, and must not share it with the full sum's images.
_STREAM = 2


def evaluate(model, process, source, count, options, folder):
  """Estimates bits/dim of the first `count` images until `options.nll_stderr`; writes the result."""
  full = count * process.num_timesteps
  least = likelihood_budget.least_evaluations(process.num_timesteps)
  if least > full:
    print(
      f"note: the full sum takes {full:,} network evaluations, fewer than any estimate (at least {least:,}); "
      "without --nll_stderr it is computed"
    )
  plan, estimate = estimated(model, process, source, count, options)
  prior = prior_mean(process, source, count, options.batch_size)
  if estimate.stderr > options.nll_stderr:
    print(
      f"note: stopped at the full sum's number of network evaluations, {full:,}; a standard error of "
      f"{options.nll_stderr} would take about {estimate.expected:,}"
    )
  share = f", 1/{full / estimate.evaluations:.0f}" if 2 * estimate.evaluations < full else ""
  print(
    f"{prior + estimate.total:.4f} bits/dim, standard error of the estimate {estimate.stderr:.4f} "
    f"({estimate.evaluations:,} of {full:,} network evaluations{share})\n"
    f"that error is of estimating the full sum over these {count} images; it says nothing of other images"
  )
  result = {
    "bits_per_dim": prior + estimate.total,
    "stderr_of_estimate": estimate.stderr,
    "stderr_target": options.nll_stderr,
    "network_evaluations": estimate.evaluations,
    "network_evaluations_of_pilot": plan.evaluations,
    "network_evaluations_of_full_sum": full,
    **nll_results.description(model, source.name, count, options),
    "num_timesteps": process.num_timesteps,
    "prior": prior,
    "strata": {
      "first_timestep": plan.edges[:-1].tolist(),
      "last_timestep": (plan.edges[1:] - 1).tolist(),
      "network_evaluations": estimate.counts.tolist(),
      "mean_term": estimate.means.tolist(),
      "standard_deviation": estimate.deviations.tolist(),
    },
  }
  nll_results.write(
    folder / f"{nll_results.name(model, count, options)}.json",
    result,
    (plan.edges[:-1] + plan.edges[1:] - 1) / 2,
    estimate.means,
    options,
  )


def estimated(model, process, source, count, options):
  """The pilot's `Plan` and the last `Estimate`, with a bar of network evaluations."""
  full = count * process.num_timesteps
  least = likelihood_budget.least_evaluations(process.num_timesteps)
  with progress.bar(total=least, unit="evaluation") as bar:
    evaluate_fn = evaluator(model, process, source, options.seed, options.batch_size, bar.update)
    plan = likelihood_budget.make_plan(evaluate_fn, process.num_timesteps, count, seed=options.seed)
    rounds = likelihood_budget.estimates(
      evaluate_fn, plan, count, target=options.nll_stderr, limit=full, seed=options.seed
    )
    bar.total = min(full, plan.evaluations + int(plan.variance / options.nll_stderr**2))
    for estimate in rounds:
      bar.total = max(min(full, estimate.expected), estimate.evaluations)
      bar.set_postfix_str(f"standard error {estimate.stderr:.4f}")
  return plan, estimate


def evaluator(model, process, source, seed, batch_size, report=lambda done: None):
  """`(t, image, key) -> terms [n]`, as `likelihood_budget` asks for; `report` gets each batch's size."""
  image_shape = model.config.data.image_shape

  @tf.function(
    autograph=False,
    input_signature=[
      tf.TensorSpec((None, *image_shape), tf.uint8),
      tf.TensorSpec([None], tf.int32),
      tf.TensorSpec([None], tf.int32),
      tf.TensorSpec([None], tf.int64),
    ],
  )
  def function(image, label, t, seeds):
    x_start = images_lib.to_unit_range(image)
    noise = samplers.seeded_noise(seeds, image_shape, _STREAM)(0)
    return likelihood.evaluate(
      model.denoise_fn(x_start, label),
      process,
      model.config.diffusion,
      x_start,
      t,
      noise,
      clip=model.config.sampling.clip_denoised,
    ).term

  def evaluate_fn(t, image, key):
    terms = []
    for start in range(0, len(t), batch_size):
      part = slice(start, start + batch_size)
      chosen = image[part]
      # Each evaluation has its own noise, whatever its batch.
      seeds = key[part] + (seed << 32)
      terms.append(function(source.images[chosen], source.labels[chosen], t[part], seeds).numpy())
      report(len(chosen))
    return np.concatenate(terms)

  return evaluate_fn


def prior_mean(process, source, count, batch_size):
  """L_T's mean over the first `count` images, bits/dim: exact, since it needs no network."""
  total = 0.0
  for start in range(0, count, batch_size):
    x_start = images_lib.to_unit_range(
      tf.constant(source.images[start : min(start + batch_size, count)])
    )
    total += float(tf.reduce_sum(losses.prior_term(process, x_start)))
  return total / count
