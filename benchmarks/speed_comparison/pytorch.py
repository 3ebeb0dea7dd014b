"""`diffusers`' `UNet2DModel` in PyTorch as a contestant, with loops of the same arithmetic."""

from collections.abc import Callable
import contextlib
import functools
import math
from typing import Any

import numpy as np

from benchmarks.speed_comparison import contestants


class PyTorch:
  """PyTorch with one precision, one layout of memory, eager or compiled; see `worker.Subject`."""

  def __init__(self, work: contestants.Work):
    """Imports PyTorch and `diffusers`, and sets the number of threads."""
    import diffusers
    import torch

    torch.set_num_threads(work.threads)
    torch.set_num_interop_threads(work.threads)
    torch.manual_seed(0)
    self._work, self._torch, self._class = work, torch, diffusers.UNet2DModel
    alphas_cumprod = cosine_alphas_cumprod(contestants.DIFFUSION_STEPS)
    self._alphas_cumprod = torch.from_numpy(alphas_cumprod).float()

  def about(self) -> dict[str, Any]:
    """Returns the number of weights."""
    return {"parameters": sum(weight.numel() for weight in self._model.parameters())}

  def prepare(self, measure: str) -> Callable[[], object]:
    """Returns what runs a measure once."""
    if measure == "training":
      return self._training()
    self._model.eval()
    runs = {"forward": self._forward, "sampling": self._sample, "likelihood": self._likelihood}
    return functools.partial(self._without_gradients, runs[measure])

  @functools.cached_property
  def _model(self):
    model: Any = self._class(**unet_options(self._work.network))
    if self._work.contestant.channels_last:
      model = model.to(memory_format=self._torch.channels_last)
    return model

  @functools.cached_property
  def _network(self):
    """The model, compiled if it is to be."""
    model = self._model
    return self._torch.compile(model) if self._work.contestant.compiled else model

  @functools.cached_property
  def _images(self):
    """Images in [-1, 1] of 256 levels, float32 `[B, C, H, W]`."""
    size, channels = self._work.network.image_size, 3
    shape = (self._work.batch_size, channels, size, size)
    levels = np.random.default_rng(0).integers(0, 256, shape)
    images = self._torch.from_numpy(levels).float() / 127.5 - 1
    if self._work.contestant.channels_last:
      images = images.contiguous(memory_format=self._torch.channels_last)
    return images

  def _autocast(self):
    if self._work.contestant.precision == "float32":
      return contextlib.nullcontext()
    return self._torch.autocast("cpu", dtype=self._torch.bfloat16)

  def _without_gradients(self, run):
    # One context for a whole loop: the weights are cast once in it.
    with self._torch.inference_mode(), self._autocast():
      return run()

  def _forward(self):
    t = self._torch.arange(self._work.batch_size)
    return self._network(self._images, t).sample.float().numpy()

  def _training(self):
    torch = self._torch
    network, x_start = self._network, self._images
    self._model.train()
    weights = list(self._model.parameters())
    averages = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(
      weights, lr=contestants.LEARNING_RATE, weight_decay=0.0, fused=True
    )

    def step():
      t = torch.randint(contestants.DIFFUSION_STEPS, x_start.shape[:1])
      noise = torch.randn_like(x_start)
      x_t = self._q_sample(x_start, self._alphas_cumprod[t], noise)
      with self._autocast():
        output = network(x_t, t).sample
      eps = output[:, : x_start.shape[1]].float()
      loss = torch.nn.functional.mse_loss(eps, noise)
      loss.backward()
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)
      with torch.no_grad():
        torch._foreach_lerp_(averages, weights, 1 - contestants.EMA)
      return loss.item()

    return step

  def _sample(self):
    """Draws images as ancestral sampling with a learned variance does; returns uint8."""
    torch = self._torch
    process = Process(self._work.sampling_steps)
    x = torch.randn_like(self._images)
    for k in reversed(range(process.steps)):
      t = torch.full(x.shape[:1], process.timesteps[k])
      mean, log_variance, _ = self._predict(process, self._network(x, t).sample, x, k)
      x = mean
      if k:
        x = x + torch.exp(0.5 * log_variance) * torch.randn_like(x)
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()

  def _likelihood(self):
    """Returns the terms of the variational bound and the two errors, `[B, steps]` each."""
    torch = self._torch
    process = Process(self._work.likelihood_steps)
    x_start, columns = self._images, []
    for k in reversed(range(process.steps)):
      noise = torch.randn_like(x_start)
      alpha_bar = torch.tensor(process.alphas_cumprod[k], dtype=torch.float32)
      x_t = self._q_sample(x_start, alpha_bar, noise)
      t = torch.full(x_t.shape[:1], process.timesteps[k])
      mean, log_variance, x = self._predict(process, self._network(x_t, t).sample, x_t, k)
      eps = (x_t - alpha_bar.sqrt() * x) / (1 - alpha_bar).sqrt()
      # Both terms, as in the graph here, in which t is not known when it is built.
      true_mean = process.mean_of_x_start[k] * x_start + process.mean_of_x_t[k] * x_t
      true_log_variance = process.log_variance[k]
      kl = 0.5 * (
        log_variance
        - true_log_variance
        - 1
        + torch.exp(true_log_variance - log_variance)
        + (true_mean - mean) ** 2 * torch.exp(-log_variance)
      )
      decoder = -self._log_likelihood(x_start, mean, log_variance)
      term = (decoder if k == 0 else kl).mean(dim=(1, 2, 3)) / math.log(2)
      errors = [((x - x_start) ** 2), ((eps - noise) ** 2)]
      columns.append([term, *(error.mean(dim=(1, 2, 3)) for error in errors)])
    return [torch.stack(column, dim=1).numpy() for column in zip(*columns)]

  def _q_sample(self, x_start, alpha_bar, noise):
    alpha_bar = alpha_bar.reshape(-1, 1, 1, 1)
    return alpha_bar.sqrt() * x_start + (1 - alpha_bar).sqrt() * noise

  def _predict(self, process, output, x_t, k):
    """Returns the mean and the log-variance of p(x_{t-1} | x_t), and the predicted x_0."""
    eps, variance = output.float().chunk(2, dim=1)
    x_start = process.x_of_x_t[k] * x_t - process.x_of_eps[k] * eps
    x_start = x_start.clamp(-1, 1)
    mean = process.mean_of_x_start[k] * x_start + process.mean_of_x_t[k] * x_t
    v = (variance + 1) / 2
    log_variance = v * process.log_beta[k] + (1 - v) * process.log_variance[k]
    return mean, log_variance, x_start

  def _log_likelihood(self, x, mean, log_variance):
    """Returns the log-likelihood of images of 256 levels, with the open ends of Eq. 5."""
    torch = self._torch
    inverse = torch.exp(-0.5 * log_variance)
    upper = torch.special.ndtr((x - mean + 1 / 255) * inverse)
    lower = torch.special.ndtr((x - mean - 1 / 255) * inverse)
    upper = torch.where(x > 0.999, torch.ones_like(x), upper)
    lower = torch.where(x < -0.999, torch.zeros_like(x), lower)
    return torch.log(torch.clamp(upper - lower, min=1e-12))


class Process:
  """The coefficients of a process on evenly spaced timesteps, one of each for a timestep.

  They are numbers, which any framework takes.
  """

  def __init__(self, steps: int):
    """Computes the coefficients in float64."""
    self.steps = steps
    self.timesteps = np.linspace(0, contestants.DIFFUSION_STEPS - 1, steps).round().astype(int)
    self.timesteps = self.timesteps.tolist()
    bars = cosine_alphas_cumprod(contestants.DIFFUSION_STEPS)[self.timesteps]
    previous = np.append(1.0, bars[:-1])
    betas = 1 - bars / previous
    variance = betas * (1 - previous) / (1 - bars)
    variance[0] = variance[1] if steps > 1 else betas[0]

    self.alphas_cumprod = bars.tolist()
    self.x_of_x_t = np.sqrt(1 / bars).tolist()
    self.x_of_eps = np.sqrt(1 / bars - 1).tolist()
    self.mean_of_x_start = (betas * np.sqrt(previous) / (1 - bars)).tolist()
    self.mean_of_x_t = ((1 - previous) * np.sqrt(1 - betas) / (1 - bars)).tolist()
    self.log_variance, self.log_beta = np.log(variance).tolist(), np.log(betas).tolist()


def cosine_alphas_cumprod(steps: int) -> np.ndarray:
  """Returns alpha bar of the cosine schedule (Eq. 17), with betas of at most 0.999: `[steps]`."""
  ends = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.cumprod(1 - np.minimum(1 - ends[1:] / ends[:-1], 0.999))


def unet_options(network: contestants.Network) -> dict[str, Any]:
  """Returns the arguments of the `UNet2DModel` of a network's shape."""
  channels = [network.base_channels * multiplier for multiplier in network.channel_multipliers]
  attention = [height in network.attention_resolutions for height in network.heights]
  # Here the number of heads is the same at all levels; there, their channels. The work is the same.
  head_dims = {
    count // network.num_heads for count, has_attention in zip(channels, attention) if has_attention
  } | {channels[-1] // network.num_heads}
  return {
    "sample_size": network.image_size,
    "in_channels": 3,
    "out_channels": 6,
    "layers_per_block": network.num_res_blocks,
    "block_out_channels": channels,
    "down_block_types": ["AttnDownBlock2D" if each else "DownBlock2D" for each in attention],
    "up_block_types": ["AttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attention)],
    "resnet_time_scale_shift": "scale_shift",
    "attention_head_dim": min(head_dims),
    "dropout": network.dropout,
  }
