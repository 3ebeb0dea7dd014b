"""Folders of pictures: DIR/*.png, DIR/CLASS/*.png, DIR/train/CLASS/*.png, and so on."""

import os
import pathlib

from iddpm_tf.data import listing

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_TEST_NAMES = ("test", "val", "validation")
_LAYOUT = "a folder of pictures, or one with sub-folders train and test (or val, or validation)"


def splits(config):
  """The splits that a folder has."""
  return tuple(_split_folders(listing.require_data_dir(config, _LAYOUT)))


def open_listing(config, split):
  """The `Listing` of a split; classes are numbered as in `train`."""
  folders = _split_folders(listing.require_data_dir(config, _LAYOUT))
  if split not in folders:
    raise ValueError(
        f"--data_dir: expected {config.data_dir} to have the sub-folders train and test (or val, or "
        f"validation), since {split!r} is asked for; it has {', '.join(folders)} only")
  result = _Folder(folders[split], config.folder_labels)
  if split != "train":
    result.number_by(_Folder(folders["train"], config.folder_labels).class_names)
  return result


class _Folder(listing.Listing):
  """Pictures in a folder and beneath, sorted by their paths."""

  name = "folder"

  def __init__(self, folder, folder_labels):
    self._folder = folder
    self._names, self.ignored = _scan(folder)
    if not self._names:
      others = f" ({len(self.ignored)} other files)" if self.ignored else ""
      raise ValueError(
          f"--data_dir: expected pictures ({', '.join(EXTENSIONS)}) in {folder}, found none{others}")
    self._class_of = {"subfolders": _subfolder, "prefix": _prefix, "none": lambda name: None}[folder_labels]
    classes = {self._class_of(name) for name in self._names}
    if None in classes and len(classes) > 1:
      flat = next(name for name in self._names if self._class_of(name) is None)
      raise ValueError(
          f"--folder_labels: expected all pictures of {folder} in sub-folders, or none; "
          f"{listing.printable(flat)} is in none (--folder_labels=none takes them without labels)")
    self._own_classes = classes - {None}
    self.number_by(sorted(self._own_classes))

  def number_by(self, class_names):
    """Numbers the classes by their places in `class_names`."""
    if unknown := sorted(self._own_classes - set(class_names)):
      raise ValueError(f"--data_dir: expected {self._folder} to have classes of train only, received "
                       f"{listing.printable(unknown[0])}")
    if class_names and not self._own_classes:
      raise ValueError(f"--data_dir: expected {self._folder} to have sub-folders of classes, as train has")
    self.class_names = tuple(class_names)
    self.num_classes = len(self.class_names)
    self._numbers = {name: number for number, name in enumerate(self.class_names)}

  def __len__(self):
    return len(self._names)

  def pictures(self, start, stop):
    for name in self._names[start:stop]:
      label = self._numbers[self._class_of(name)] if self.num_classes else 0
      yield listing.Picture(name, pathlib.Path(self._folder, name), label)

  def identities(self):
    yield from self.class_names
    yield from self._names


def _split_folders(folder):
  """{split: folder}, `train` first."""
  if not (folder / "train").is_dir():
    return {"train": folder}
  test = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None)
  if test:
    return {"train": folder / "train", "test": test}
  # A class may be called train.
  for path in sorted(folder.iterdir()):
    if path.name != "train" and path.is_dir() and not path.name.startswith(".") and _scan(path)[0]:
      raise ValueError(
          f"--data_dir: expected beside {folder / 'train'} no other folder of pictures than test, val or "
          f"validation, received {path}; if both are classes, move them into {folder}/train/")
  return {"train": folder / "train"}


def _scan(folder):
  """Paths of pictures and of other files, relative to the folder; each sorted. Hidden ones are left out."""
  names, others, seen = [], [], set()

  def fail(error):
    raise error

  for path, folders, files in os.walk(folder, followlinks=True, onerror=fail):
    # A link to a folder above would lead round for ever.
    if (real := os.path.realpath(path)) in seen:
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    relative = os.path.relpath(path, folder)
    for name in files:
      if not name.startswith("."):
        kind = names if name.lower().endswith(EXTENSIONS) else others
        kind.append(name if relative == "." else f"{relative}/{name}")
  return tuple(sorted(names)), tuple(sorted(others))


def _subfolder(name):
  first, *rest = name.split("/")
  return first if rest else None


def _prefix(name):
  first, *rest = name.rsplit("/", 1)[-1].split("_")
  if not rest:
    raise ValueError(f"--folder_labels: expected files named CLASS_NAME.png for prefix, received "
                     f"{listing.printable(name)}")
  return first
