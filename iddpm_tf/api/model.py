"""A trained model in Python."""

from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import typing

import keras
import numpy as np

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.diffusion.samplers import base as samplers_lib
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.evaluation.nll import estimate as nll_estimate
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import editing
from iddpm_tf.models import encoding
from iddpm_tf.models import image_sampler
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.models import trained_model
from iddpm_tf.models import two_stage
from iddpm_tf.serving import config as serving_config
from iddpm_tf.serving import deployment
from iddpm_tf.serving import layout
from iddpm_tf.serving import servable
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

ProgressOption = bool | progress_lib.Progress
Labels = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Likelihood:
  """The variational bound of images, in bits/dim.

  Attributes:
    bits_per_dim: the bound of each image, float32 `[N]`.
    prior: L_T of each image, float32 `[N]`.
    terms: L_0 and each L_t of each image, float32 `[N, K]`.
    timesteps: the timestep of each term, int `[K]`.
  """

  bits_per_dim: np.ndarray
  prior: np.ndarray = dataclasses.field(repr=False)
  terms: np.ndarray = dataclasses.field(repr=False)
  timesteps: np.ndarray = dataclasses.field(repr=False)

  @property
  def mean(self) -> float:
    """The mean bound over the images."""
    return full_sum.mean_and_stderr(self.bits_per_dim)[0]

  @property
  def standard_error(self) -> float | None:
    """The standard error of `mean` over images; None for one image."""
    return full_sum.mean_and_stderr(self.bits_per_dim)[1]


@dataclasses.dataclass(frozen=True)
class LikelihoodEstimate:
  """An estimate of the mean bound of images, from a part of its terms.

  Attributes:
    mean: the estimate, bits/dim.
    standard_error: its standard error over draws of timesteps, images and noise. It is the error of
      estimating the full sum over these images, and says nothing about other images.
    network_evaluations: the number of evaluations of the network.
  """

  mean: float
  standard_error: float
  network_evaluations: int


class Model:
  """A trained model: draws, encodes and scores images, and can be exported.

  `iddpm_tf.load` and `iddpm_tf.train` return one. All randomness comes from seeds: the same call
  gives the same result.

  Attributes:
    trained: the network with its weights, for functions of `iddpm_tf.models` and
      `iddpm_tf.evaluation`.
  """

  def __init__(self, trained: trained_model.TrainedModel):
    self.trained = trained
    # Graphs that have been traced, which takes seconds.
    self._samplers: dict[typing.Any, batched_sampling.BatchedSampler] = {}
    self._encoders: dict[int | None, encoding.Encoder] = {}
    self._full_sums: dict[bytes, full_sum.FullSum] = {}

  def __repr__(self) -> str:
    return f"Model({self.trained})"

  @property
  def config(self) -> config_lib.Config:
    """The configuration of the run."""
    return self.trained.config

  @property
  def network(self) -> keras.Model:
    """The Keras network, which takes x_t, t and labels."""
    return self.trained.network

  @property
  def step(self) -> int:
    """The training step of the weights."""
    return self.trained.step

  @property
  def ema(self) -> float:
    """The rate of the moving averages that are the weights; 0 for the raw weights."""
    return self.trained.ema

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """The shape of an image, (H, W, C)."""
    return self.config.image_shape

  @property
  def num_classes(self) -> int:
    """The number of classes that the model is conditioned on; 0 for none."""
    return self.config.num_classes

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes of labels by number; empty where they are unknown."""
    return self.trained.label_names

  def parse_samplers(self, *texts: str) -> list[samplers_lib.Sampler]:
    """Returns samplers by their texts, or those of the configuration, checked against the model.

    Raises:
      InputError: a text has another form, or the model has fewer timesteps than a sampler takes.
    """
    return batched_sampling.parse_samplers(self.config, texts)

  def sample(
    self,
    count: int | None = None,
    *,
    sampler: str | samplers_lib.Sampler | None = None,
    labels: seeds_lib.Labels | None = None,
    seed: int | Sequence[int] | np.ndarray = 0,
    guidance_scale: arrays.Scale | None = None,
    classifier_scale: arrays.Scale | None = None,
    low_res: np.ndarray | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Draws images. Each depends only on its own seed, label and low-resolution image.

    Args:
      count: the number of images. None is the number of seeds or of images to enlarge, or 1.
      sampler: such as "ancestral:250" or "ddim:50"; a `Sampler`; or None for the first sampler of
        the configuration.
      labels: classes to repeat in turn, by number or by name. None repeats all classes of the
        model.
      seed: the seed of the first image (image i has seed + i), or one seed per image.
      guidance_scale: how much images follow their classes, for a model that was trained with
        `label_dropout`, or one number per image: 1 as trained, above 1 more, 0 not at all. None is
        the configuration's.
      classifier_scale: how much the classifier guides images, for a model that was loaded with one,
        or one number per image. None is the configuration's.
      low_res: for a super-resolution model, the images to enlarge, uint8 `[N, h, w, C]`.
      batch_size: images at a time, over all devices.
      progress: True shows a bar, and a note where unclipped images are black and white; False
        shows nothing; or a `Progress`.

    Returns:
      uint8 `[count, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    inputs, progress = self._inputs(count, seed, labels, low_res), progress_lib.make(progress)
    inputs |= self._scales(inputs, guidance_scale, classifier_scale)
    batched = self._batched(sampler)
    images = batched.draw(inputs, batch_size=_positive(batch_size), progress=progress)
    if note := batched.note_of_extremes():
      progress.say(note)
    return images

  def edit(
    self,
    images: np.ndarray,
    *,
    masks: np.ndarray | None = None,
    strength: float | Sequence[float] | np.ndarray = 1.0,
    count: int | None = None,
    resampling: known_pixels.Resampling = known_pixels.NO_RESAMPLING,
    sampler: str | samplers_lib.Sampler | None = None,
    labels: seeds_lib.Labels | None = None,
    seed: int | Sequence[int] | np.ndarray = 0,
    guidance_scale: arrays.Scale | None = None,
    classifier_scale: arrays.Scale | None = None,
    low_res: np.ndarray | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Draws a part of pictures anew: the pixels of a mask, or what changes at a noise level.

    Without a mask, and with a strength below 1, the result is a variation of the picture (Meng et
    al., 2021, SDEdit). With a mask, the other pixels keep their values exactly, and get new noise
    at each step (Lugmayr et al., 2022, RePaint).

    Args:
      images: uint8 `[N, H, W, C]`, or one picture `[H, W, C]`.
      masks: which pixels to draw: bool, or uint8 of which 128 or more are drawn; `[N, H, W]`,
        `[N, H, W, 1]`, or one mask for all. None draws all pixels.
      strength: the share of the steps with which images are drawn, in (0, 1], or one per image. 1
        begins with noise alone; small values stay close to the picture.
      count: the number of images to draw, to which one picture is repeated; None is that of
        `images`.
      resampling: how often drawing goes back, so that new pixels fit the known ones (RePaint).
      sampler: see `sample`.
      labels: see `sample`.
      seed: see `sample`.
      guidance_scale: see `sample`.
      classifier_scale: see `sample`.
      low_res: see `sample`.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[count, H, W, C]`.

    Raises:
      InputError: a wrong argument, or nothing to draw from: no mask, and a strength of 1.
    """
    edits = editing.make_edits(
      images,
      self.image_shape,
      masks=masks,
      strength=strength,
      count=count,
      resampling=resampling,
    )
    inputs = self._inputs(len(edits.image), seed, labels, low_res)
    inputs |= self._scales(inputs, guidance_scale, classifier_scale)
    return self._batched(sampler).edit(
      edits, inputs, batch_size=_positive(batch_size), progress=progress_lib.make(progress)
    )

  def require_resampling(
    self, sampler: str | samplers_lib.Sampler | None, resampling: known_pixels.Resampling
  ) -> None:
    """Checks that drawing by a sampler can go back as often as `edit` is asked to.

    Args:
      sampler: see `sample`.
      resampling: how often drawing goes back.

    Raises:
      InputError: the sampler cannot go back, or has too few steps.
    """
    self._batched(sampler).image_sampler.require_resampling(resampling)

  def interpolate(
    self,
    first: np.ndarray,
    second: np.ndarray,
    *,
    count: int = 8,
    labels: Labels | None = None,
    steps: int | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Draws the images between pictures, through their latents (Song et al., 2020, section 5.3).

    The first and the last image are nearly the two pictures.

    Args:
      first: uint8 `[N, H, W, C]`.
      second: uint8 `[N, H, W, C]`.
      count: the number of images of each pair, 2 or more.
      labels: the class of each pair, integers `[N]`, for a model with classes.
      steps: the number of DDIM's timesteps; None takes all of the model's.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[N, count, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    settings.require_count("count", count, least=2)
    ends = [
      np.asarray(arrays.require_images(images, self.image_shape, name=name))
      for name, images in (("first", first), ("second", second))
    ]
    number = len(ends[0])
    message = f"{number} images, as many as first"
    settings.require(len(ends[1]) == number, "second", message, len(ends[1]))
    label = arrays.require_labels(labels, number, self.num_classes)
    twice = None if label is None else np.concatenate([label, label])
    latents = self.encode(
      np.concatenate(ends), twice, steps=steps, batch_size=batch_size, progress=progress
    )
    points = editing.spherical_interpolation(latents[:number], latents[number:], count)
    images = self.decode(
      points.reshape(-1, *self.image_shape),
      None if label is None else np.repeat(label, count),
      steps=steps,
      batch_size=batch_size,
      progress=progress,
    )
    return images.reshape(points.shape)

  def describe_range(self, sampler: str | samplers_lib.Sampler | None = None) -> str:
    """Returns how much of the predicted x_0 left [-1, 1] in the last call of `sample`, in words.

    Args:
      sampler: the sampler of that call.

    Raises:
      InputError: the sampler has drawn nothing yet.
    """
    return self._batched(sampler).describe_range()

  def trajectory(
    self,
    count: int | None = None,
    *,
    frames: int = 16,
    of: str = "x_t",
    sampler: str | samplers_lib.Sampler | None = None,
    labels: seeds_lib.Labels | None = None,
    seed: int | Sequence[int] | np.ndarray = 0,
    guidance_scale: arrays.Scale | None = None,
    classifier_scale: arrays.Scale | None = None,
    low_res: np.ndarray | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Draws images with the way to them: evenly spaced steps from noise to the image.

    Args:
      count: the number of images; see `sample`.
      frames: the number of steps to show, 2 or more.
      of: what to show of them: "x_t", or "x_start", the x_0 that the network predicts in each.
      sampler: see `sample`.
      labels: see `sample`.
      seed: see `sample`.
      guidance_scale: see `sample`.
      classifier_scale: see `sample`.
      low_res: see `sample`.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[count, frames, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    settings.require_count("frames", frames, least=2)
    settings.require(of in image_sampler.FRAMES, "of", "x_t or x_start", of)
    inputs = self._inputs(count, seed, labels, low_res)
    inputs |= self._scales(inputs, guidance_scale, classifier_scale)
    return self._batched(sampler).frames(
      frames,
      inputs,
      of=of,
      batch_size=_positive(batch_size),
      progress=progress_lib.make(progress),
    )

  def nll(
    self,
    images: np.ndarray,
    labels: Labels | None = None,
    *,
    steps: int = 0,
    schedule: str = "dense_start",
    seed: int = 0,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> Likelihood:
    """Returns the variational bound on the negative log-likelihood of images (Eq. 4), in bits/dim.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]`, for a model with classes.
      steps: the number K of timesteps to evaluate (Appendix E); 0 evaluates all.
      schedule: which timesteps: "strided" is K evenly spaced ones; "dense_start" adds every t up to
        T/K.
      seed: the seed of the noise.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Raises:
      InputError: a wrong argument.
    """
    settings.require_seed(seed)
    with settings.renamed({"nll_steps": "steps", "nll_schedule": "schedule"}):
      diffusion = full_sum.respaced_diffusion(self.config.diffusion, steps, schedule)
    key = diffusion.process.timestep_map.tobytes()
    if key not in self._full_sums:
      self._full_sums[key] = full_sum.FullSum(self.trained, diffusion)
    bits = self._full_sums[key].bits_per_dim(
      images,
      labels,
      seed=seed,
      batch_size=_positive(batch_size),
      progress=progress_lib.make(progress),
    )
    return Likelihood(bits.total, bits.prior, bits.terms, diffusion.process.timestep_map)

  def estimate_nll(
    self,
    images: np.ndarray,
    labels: Labels | None = None,
    *,
    standard_error: float,
    seed: int = 0,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> LikelihoodEstimate:
    """Estimates the mean of `nll` over images, from as few terms as a standard error takes.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]`, for a model with classes.
      standard_error: the standard error of the estimate to reach, bits/dim.
      seed: the seed of timesteps, images and noise.
      batch_size: evaluations at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Raises:
      InputError: a wrong argument.
    """
    settings.require_seed(seed)
    estimator = nll_estimate.Estimator(
      self.trained, images, labels, batch_size=_positive(batch_size)
    )
    with settings.renamed({"nll_stderr": "standard_error"}):
      result = estimator.estimate(standard_error, seed=seed, progress=progress_lib.make(progress))
    evaluations = result.terms.evaluations
    return LikelihoodEstimate(result.bits_per_dim, result.stderr, evaluations)

  def encode(
    self,
    images: np.ndarray,
    labels: Labels | None = None,
    *,
    steps: int | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Returns the latents x_T of images, from which `decode` draws nearly the same images.

    The latents follow DDIM's ordinary differential equation (Song et al., 2020, section 4.3).

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]`, for a model with classes.
      steps: the number of DDIM's timesteps; None takes all of the model's, which is the most exact.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      float32 `[N, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    images, label = self._data(images, labels)
    with settings.renamed({"samplers": "steps"}):
      if steps not in self._encoders:
        self._encoders[steps] = encoding.Encoder(self.trained, steps)
    return self._encoders[steps].encode(
      images, label, batch_size=_positive(batch_size), progress=progress_lib.make(progress)
    )

  def decode(
    self,
    latents: np.ndarray,
    labels: Labels | None = None,
    *,
    steps: int | None = None,
    low_res: np.ndarray | None = None,
    batch_size: int = 100,
    progress: ProgressOption = True,
  ) -> np.ndarray:
    """Draws the images of latents x_T by DDIM with eta = 0, without guidance.

    Args:
      latents: float `[N, H, W, C]`, such as `encode` returns, or standard normal noise.
      labels: integers `[N]`, for a model with classes.
      steps: the number of DDIM's timesteps, as for `encode`.
      low_res: for a super-resolution model, the images to enlarge, uint8 `[N, h, w, C]`.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[N, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    latents = arrays.require_floats(latents, self.image_shape, name="latents")
    inputs = self._inputs(len(latents), 0, None, low_res)
    label = arrays.require_labels(labels, len(latents), self.num_classes)
    if label is not None:
      inputs["label"] = label
    # Latents are those of the model without guidance, and lead to their images without it only.
    inputs["guidance_scale"] = np.ones(len(latents), np.float32)
    inputs["classifier_scale"] = np.zeros(len(latents), np.float32)
    with settings.renamed({"samplers": "steps", "sampler": "steps"}):
      batched = self._batched(ddim.DDIM(steps))
    return batched.from_latents(
      latents, inputs, batch_size=_positive(batch_size), progress=progress_lib.make(progress)
    )

  def predict(
    self,
    x_t: np.ndarray,
    t: int | Sequence[int] | np.ndarray,
    labels: Labels | None = None,
    *,
    low_res: np.ndarray | None = None,
  ) -> np.ndarray:
    """Returns the network's output: the noise eps by default, and then the variance's values.

    Args:
      x_t: noisy images, float `[N, H, W, C]`.
      t: the timestep of all images or of each, from 0 to T - 1.
      labels: integers `[N]`, for a model with classes.
      low_res: for a super-resolution model, the images to enlarge, uint8 `[N, h, w, C]`.

    Returns:
      float32 `[N, H, W, C]`, or `[N, H, W, 2 C]` where the variance is learned.

    Raises:
      InputError: a wrong argument.
    """
    x_t = arrays.require_floats(x_t, self.image_shape, name="x_t")
    total = self.config.diffusion.diffusion_steps
    try:
      timesteps = np.asarray(t)
    except ValueError:  # A list of lists of several lengths.
      timesteps = np.empty([0])
    valid = np.issubdtype(timesteps.dtype, np.integer) and timesteps.shape in ((), (len(x_t),))
    if not valid or timesteps.min() < 0 or timesteps.max() >= total:
      message = f"expected one timestep, or {len(x_t)}, from 0 to {total - 1}, received {t}"
      raise settings.InputError("t", message)
    inputs = self._inputs(len(x_t), 0, None, low_res)
    return encoding.predict(
      self.trained,
      x_t,
      np.broadcast_to(timesteps, [len(x_t)]),
      arrays.require_labels(labels, len(x_t), self.num_classes),
      inputs["low_res"],
    )

  def export(
    self,
    path: str | os.PathLike[str],
    *,
    samplers: str | Sequence[str | samplers_lib.Sampler] | None = None,
    version: int | None = None,
    upsampler: "Model | None" = None,
    config: serving_config.ServableConfig = serving_config.ServableConfig(),
    verify: bool = False,
    progress: ProgressOption = True,
  ) -> pathlib.Path:
    """Exports samplers as a SavedModel for TensorFlow Serving.

    The folder above `path` gets the files that a server needs, unless they exist.

    Args:
      path: the folder of the export, such as "saved_models/digits". Its last part is the model's
        name.
      samplers: such as ["ancestral:100", "ddim:50"]; None takes those of the configuration. The
        first one is the default.
      version: a positive number. None is the number after the newest version.
      upsampler: a super-resolution model that enlarges the images; the export is the chain of both.
      config: the signatures and warm-up requests to write.
      verify: whether to load the export and compare its images with the model's before it appears.
      progress: True shows notes, False shows none; or a `Progress`.

    Returns:
      The folder of the version.

    Raises:
      InputError: a wrong argument, or weights that are not finite.
    """
    progress = progress_lib.make(progress)
    folder = pathlib.Path(path)
    texts = (samplers,) if isinstance(samplers, (str, samplers_lib.Sampler)) else samplers
    parsed = batched_sampling.parse_samplers(self.config, texts)
    with settings.renamed({"name": "path"}):
      layout.require_name(folder.name)
    deployment.require_models_config(folder.parent)
    layout.require_new_version(folder, version)
    files.require_writable(folder, "path")
    settings.require(
      upsampler is None or not config.edit,
      "edit",
      "False for a chain of two models; the base model alone can be exported with it",
      config.edit,
    )
    graphs: list[servable.Sampler] = [
      self.trained.make_image_sampler(each, on_step=servable.step_counter()) for each in parsed
    ]
    assets = {layout.CONFIG: self.config.to_json()}
    line = f"exporting {self.trained}: {', '.join(map(str, parsed))}"
    if upsampler is not None:
      with settings.renamed({"upsampler_dir": "upsampler", "model_dir": "upsampler"}):
        two_stage.require_fit(self.config, upsampler.config, str(upsampler.trained.folder))
      with settings.renamed({"samplers": "upsampler"}):
        enlarging = batched_sampling.parse_samplers(upsampler.config)[0]
      second = upsampler.trained.make_image_sampler(enlarging, on_step=servable.step_counter())
      graphs = [
        image_sampler.TwoStageSampler(typing.cast(image_sampler.ImageSampler, graph), second)
        for graph in graphs
      ]
      assets["upsampler_config.json"] = upsampler.config.to_json()
      line += f"; enlarged by {upsampler.trained}: {enlarging}"
    made_from = self._made_from(upsampler) | {"samplers": list(map(str, parsed))}
    assets[layout.MADE_FROM] = json.dumps(made_from, indent=2) + "\n"
    files.make_folder(folder, "path")
    progress.say(line)
    written = servable.export(
      graphs,
      folder,
      assets=assets,
      version=version,
      config=config,
      verify_with=self._example_inputs() if verify else None,
    )
    inputs = {spec.name: spec for spec in graphs[0].input_signature()}
    deployment.write(written, str(parsed[0]), inputs, png=config.png)
    return written

  def _made_from(self, upsampler):
    trained = self.trained
    made_from = {
      "training_step": trained.step,
      "ema": trained.ema,
      "version": iddpm_tf.__version__,
      "compute": self.config.network.precision,
    }
    if trained.ends:
      made_from |= {
        "ensemble_training_step": trained.ends.step,
        "ensemble_ema": trained.ends.ema,
        "ensemble_steps": trained.end_steps,
      }
    if trained.classifier is not None:
      made_from |= {
        "classifier": str(trained.classifier),
        layout.LABELS: {"number": trained.num_labels, "names": list(trained.label_names)},
      }
    if upsampler is not None:
      made_from |= {"upsampler_training_step": upsampler.step, "upsampler_ema": upsampler.ema}
    return made_from

  def _example_inputs(self):
    return seeds_lib.example_inputs(self.config, 10, num_labels=self.trained.num_labels)

  def _batched(self, sampler):
    """Returns the drawing graph of a sampler."""
    if sampler is None:
      sampler = self.config.sampling.samplers[0]
    if isinstance(sampler, str):
      with settings.renamed({"samplers": "sampler"}):
        (sampler,) = batched_sampling.parse_samplers(self.config, (sampler,))
    if not isinstance(sampler, samplers_lib.Sampler):
      message = f"expected a text such as 'ddim:50', or a Sampler, received {sampler!r}"
      raise settings.InputError("sampler", message)
    # The class is part of the key: a notebook may define a sampler of the same name anew.
    key = type(sampler), sampler
    if key not in self._samplers:
      with settings.renamed({"samplers": "sampler"}):
        self._samplers[key] = batched_sampling.BatchedSampler(self.trained, sampler)
    return self._samplers[key]

  def _inputs(self, count, seed, labels, low_res):
    low_res = arrays.require_low_res(low_res, self.config.low_res_shape)
    return seeds_lib.make_inputs(
      count,
      seed=seed,
      labels=labels,
      num_classes=self.trained.num_labels,
      class_names=self.class_names,
      low_res=low_res,
    )

  def _scales(self, inputs, guidance_scale, classifier_scale):
    """Returns the scales that were given as inputs: float32 `[N]` each."""
    given = {"guidance_scale": guidance_scale, "classifier_scale": classifier_scale}
    needs = {
      "guidance_scale": (self.config.network.label_dropout, "was trained without label_dropout"),
      "classifier_scale": (self.trained.classifier, "was loaded without a classifier"),
    }
    scales = {}
    for name, value in given.items():
      if value is None:
        continue
      is_known, reason = needs[name]
      settings.require(is_known, name, f"none, because the model {reason}", value)
      scales[name] = arrays.require_scales(value, len(inputs["seed"]), name=name)
    return scales

  def _data(self, images, labels):
    images = arrays.require_images(images, self.image_shape)
    return images, arrays.require_labels(labels, len(images), self.num_classes)


def _positive(batch_size):
  settings.require_count("batch_size", batch_size)
  return batch_size
