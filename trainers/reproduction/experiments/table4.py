"""Table 4: FID, precision and recall, of class-conditional models of two sizes."""

from iddpm_tf.networks import cost
from trainers import model_dir
from trainers.reproduction import sections

_SIZES = ("small", "large")
_BIGGAN = ("BigGAN-deep (Brock et al., 2018)", 4.06, 0.86, 0.59)
_PAPER = {"small": (6.92, 0.77, 0.72), "large": (2.92, 0.82, 0.71)}
_SCORES = ("fid", "precision_k5", "recall_k5")


def needs(scale):
  """The scores of both sizes."""
  return tuple(scale.quality_of(scale.sized_run(size, scale.seeds[0])) for size in _SIZES)


def show(scale, output):
  """Table 4, of which no claim is judged: it is of one seed."""
  rows = [(*_BIGGAN, None, None, None, None)]
  for size, measurement in zip(_SIZES, needs(scale)):
    (line,) = measurement.lines(output).values()
    parameters = cost.of_config(model_dir.read_config(measurement.run.folder(output))).parameters
    rows.append((f"Improved Diffusion ({size})", *_PAPER[size], f"{parameters / 1e6:.2f}M",
                 *(line["scores"][name] for name in _SCORES)))
  columns = ("model", "the paper's FID", "precision", "recall", "parameters of ours", "our FID", "precision", "recall")
  return sections.Section(
      "Table 4: sample quality of class-conditional models",
      f"The paper's is of ImageNet-64 with Inception-V3 features, 50,000 samples and k = 5; the GAN is not trained here. "
      f"Ours is of {scale.fid_about}: {scale.quality_samples:,} samples by {scale.sampling_steps} steps of models of two "
      f"sizes, L_hybrid, cosine schedule, seed {scale.seeds[0]}; only the two rows of ours can be compared.",
      tables=(sections.Table(columns, tuple(rows), "k = 5."),))
