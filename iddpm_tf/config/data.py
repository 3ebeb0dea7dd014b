"""The settings of the data."""

import dataclasses

from iddpm_tf import settings


def background_colour(text: str) -> tuple[int, int, int] | None:
  """Returns the colour that transparent pictures are laid over, or None for `none`.

  Raises:
    InputError: the text is something else than white, black, none, or R,G,B.
  """
  named = {"white": (255, 255, 255), "black": (0, 0, 0), "none": None}
  if text in named:
    return named[text]
  parts = [part.strip() for part in text.split(",")]
  if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
    red, green, blue = map(int, parts)
    return red, green, blue
  message = "expected white, black, none, or R,G,B with numbers from 0 to 255"
  raise settings.InputError("background", f"{message}, received {settings.shown(text)}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The source of the images."""

  dataset: str = settings.setting(
    "digits",
    "digits or photos (both are in the package); records (made by prepare_data); folder (of "
    "pictures); imagenet_npz (the official batches); lsun (an LMDB); or the name of a TFDS data "
    "set with images",
    changeable=True,
  )
  data_dir: str | None = settings.setting(
    None, "folder of the data; unset: TFDS's own folder", changeable=True
  )
  download: bool = settings.setting(
    True,
    "let TFDS download and prepare a data set that is not in data_dir",
    changeable=True,
    since=4,
  )
  image_size: int = settings.setting(
    0, "height and width to bring the images to; 0 keeps their size", since=2
  )
  resize: str = settings.setting(
    "bicubic",
    "method of resizing; bicubic: the authors' (halved while twice the size, then bicubic, then "
    "cropped); area: cropped, then averaged, as for class-conditional ImageNet",
    choices=("bicubic", "area"),
    changeable=True,
    since=2,
  )
  folder_labels: str = settings.setting(
    "subfolders",
    "labels of a folder of pictures: the names of its sub-folders, the file names up to the first "
    "underscore, or none",
    choices=("subfolders", "prefix", "none"),
    changeable=True,
    since=2,
  )
  folder_splits: str = settings.setting(
    "usual",
    "sub-folders of a folder of pictures that are its splits: usual: train or training, val, valid "
    "or validation, test or testing, in upper or lower case; lowercase: train and test (or val, or "
    "validation), as earlier versions did; none: all sub-folders are classes",
    choices=("usual", "lowercase", "none"),
    changeable=True,
    since=5,
    old="lowercase",
  )
  class_order: str = settings.setting(
    "natural",
    "order of class names, which numbers the classes; natural: 1, 2, 10, if all names are numbers; "
    "alphabetical: 1, 10, 2, as in the authors' code",
    choices=("natural", "alphabetical"),
    changeable=True,
    since=5,
    old="alphabetical",
  )
  extensions: tuple[str, ...] = settings.setting(
    ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp"),
    "extensions of the files in a folder that are pictures, in upper or lower case",
    changeable=True,
    since=5,
    old=("png", "jpg", "jpeg", "webp", "gif"),
  )
  test_share: float = settings.setting(
    0.0,
    "share of the pictures of a folder without a test split that is held out as its test split, "
    "such as 0.1; names decide which",
    since=5,
  )
  channels: int = settings.setting(
    0,
    "channels of the images: 1 for grey, 3 for RGB, 4 for RGB and transparency; 0: as the pictures "
    "are, which is 1 where all of them are grey, otherwise 3",
    changeable=True,
    since=5,
  )
  exif_orientation: bool = settings.setting(
    True,
    "turn pictures upright, as their EXIF orientation says and viewers show them; the authors' "
    "code ignores it",
    changeable=True,
    since=5,
    old=False,
  )
  background: str = settings.setting(
    "white",
    "colour that transparent pictures are laid over: white, black, or R,G,B such as 255,0,0; none "
    "ignores transparency, as the authors' code does",
    changeable=True,
    since=5,
    old="none",
  )
  max_value: int = settings.setting(
    0,
    "value of pictures of 16 bits that becomes white, such as 4095; 0: 65535, of which the upper "
    "8 bits are taken",
    changeable=True,
    since=5,
  )
  random_flip: bool = settings.setting(False, "mirror half of the training images")
  image_shape: tuple[int, ...] = settings.recorded(())  # Height, width, channels.
  num_classes: int = settings.recorded(0)  # 0: the data has no labels.
  # By number; empty where they are unknown.
  class_names: tuple[str, ...] = settings.recorded((), changeable=True, since=5)

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require(
      len(self.image_shape) in (0, 3) and all(size > 0 for size in self.image_shape),
      "image_shape",
      "height, width and channels",
      self.image_shape,
    )
    settings.require_choices(self)
    settings.require_not_negative(self, "num_classes", "image_size")
    settings.require(self.channels in (0, 1, 3, 4), "channels", "0, 1, 3 or 4", self.channels)
    settings.require(
      0 <= self.max_value < 2**16, "max_value", "a number from 0 to 65535", self.max_value
    )
    background_colour(self.background)
    settings.require(
      self.extensions and all(name.isalnum() for name in self.extensions),
      "extensions",
      "one extension or more, without dots, such as png,jpg",
      self.extensions,
    )
    settings.require(0 <= self.test_share < 1, "test_share", "a share in [0, 1)", self.test_share)
    settings.require(
      len(self.class_names) in (0, self.num_classes),
      "class_names",
      f"{self.num_classes} names, one per class, or none",
      self.class_names,
    )

  def as_before(self, earlier: "DataConfig") -> "DataConfig":
    """Returns a copy that treats pictures as an earlier configuration did, unless told otherwise.

    Where this package once did something else than it now does by default, and the earlier
    configuration is of that time, a default value gives way. It may not have been given.
    """
    values = {}
    for field in dataclasses.fields(self):
      old = field.metadata["old"]
      if old != field.default == getattr(self, field.name) and getattr(earlier, field.name) == old:
        values[field.name] = old
    return dataclasses.replace(self, **values)

  @classmethod
  def before(cls, version: int) -> "DataConfig":
    """Returns the configuration that stands for what versions before `version` did."""
    fields = [field for field in dataclasses.fields(cls) if field.metadata["since"] >= version]
    return cls(**{field.name: field.metadata["old"] for field in fields})
