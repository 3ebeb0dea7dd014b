"""Table 4: FID, precision and recall, of models of two sizes."""

from iddpm_tf.models import model_dir
from iddpm_tf.networks import cost
from trainers.reproduction import sections

_SIZES = ("small", "large")
_BIGGAN = ("BigGAN-deep (Brock et al., 2018)", 4.06, 0.86, 0.59)
_PAPER = {"small": (6.92, 0.77, 0.72), "large": (2.92, 0.82, 0.71)}
_ABOUT_SIZES = (
  ", class-conditional, of the files of the other models; the paper's are cropped and averaged from the whole "
  "pictures"
)
_SCORES = ("fid", "precision_k5", "recall_k5")


def needs(scale):
  """The scores of both sizes."""
  return tuple(scale.quality_of(scale.sized_run(size, scale.seeds[0])) for size in _SIZES)


def show(scale, output):
  """Table 4, of which no claim is judged: it is of one seed."""
  rows = [(*_BIGGAN, None, None, None, None)]
  for size, measurement in zip(_SIZES, needs(scale)):
    parameters = cost.config_cost(model_dir.read_config(measurement.run.folder(output))).parameters
    rows.append(
      (
        f"Improved Diffusion ({size})",
        *_PAPER[size],
        f"{parameters / 1e6:.2f}M",
        *(measurement.score(output, name, f"ancestral_{scale.sampling_steps}") for name in _SCORES),
      )
    )
  columns = (
    "model",
    "the paper's FID",
    "precision",
    "recall",
    "parameters of ours",
    "our FID",
    "precision",
    "recall",
  )
  return sections.Section(
    "Table 4: sample quality of models of two sizes",
    f"The paper's is of class-conditional ImageNet-64 with Inception-V3 features, 50,000 samples and k = 5; the GAN is "
    f"not trained here. Ours is of {scale.fid_about}{_ABOUT_SIZES if scale.sizes else ''}: {scale.quality_samples:,} "
    f"samples by {scale.sampling_steps} steps, L_hybrid, cosine schedule, seed {scale.seeds[0]}.",
    tables=(sections.Table(columns, tuple(rows), "k = 5."),),
  )
