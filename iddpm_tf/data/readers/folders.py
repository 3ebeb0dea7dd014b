"""Folders of pictures: DIR/*.png, DIR/CLASS/*.png, DIR/train/CLASS/*.png, and so on."""

import os
import pathlib

from iddpm_tf import settings
from iddpm_tf.data.readers import listing

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
    raise settings.InputError(
      "data_dir",
      f"expected {config.data_dir} to have the sub-folders train and test (or val, or "
      f"validation), since {split!r} is asked for; it has {', '.join(folders)} only",
    )
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
      raise settings.InputError(
        "data_dir", f"expected pictures ({', '.join(EXTENSIONS)}) in {folder}, found none{others}"
      )
    self._class_of = {"subfolders": _subfolder, "prefix": _prefix, "none": lambda name: None}[
      folder_labels
    ]
    classes = {self._class_of(name) for name in self._names}
    if None in classes and len(classes) > 1:
      flat = next(name for name in self._names if self._class_of(name) is None)
      raise settings.InputError(
        "folder_labels",
        f"expected all pictures of {folder} in sub-folders, or none; "
        f"{listing.printable(flat)} is in none (--folder_labels=none takes them without labels)",
      )
    self._own_classes = classes - {None}
    self.number_by(sorted(self._own_classes))

  def number_by(self, class_names):
    """Numbers the classes by their places in `class_names`."""
    if unknown := sorted(self._own_classes - set(class_names)):
      raise settings.InputError(
        "data_dir",
        f"expected {self._folder} to have classes of train only, received "
        f"{listing.printable(unknown[0])}",
      )
    if class_names and not self._own_classes:
      raise settings.InputError(
        "data_dir", f"expected {self._folder} to have sub-folders of classes, as train has"
      )
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
  result = {"train": folder / "train", **({"test": test} if test else {})}
  # A class may be called train, or test.
  if left_out := _pictures_beside(folder, set(result.values())):
    raise settings.InputError(
      "data_dir",
      f"expected no other pictures in {folder} than those of {' and '.join(result)}"
      f"{f' ({test.name})' if test and test.name != 'test' else ''}, which are splits, received "
      f"{listing.printable(str(left_out))}, which would be left out; move it (if all are classes, move "
      f"them into {folder}/train/), or give --data_dir={folder}/train",
    )
  return result


def _pictures_beside(folder, used):
  """The first picture in a folder, or sub-folder with pictures that is none of `used`; or None."""
  for path in sorted(folder.iterdir()):
    if path in used or path.name.startswith("."):
      continue
    if _scan(path)[0] if path.is_dir() else path.name.lower().endswith(EXTENSIONS):
      return path
  return None


def _scan(folder):
  """Paths of pictures and of other files, relative to the folder; each sorted. Hidden ones are left out."""
  names, others, chains = [], [], {os.fspath(folder): (os.path.realpath(folder),)}

  def fail(error):
    raise error

  for path, folders, files in os.walk(folder, followlinks=True, onerror=fail):
    chain, inner = chains.pop(path), sorted(name for name in folders if not name.startswith("."))
    folders.clear()
    for name in inner:
      # A link to a folder above would lead round for ever; one to a folder beside is a folder of its own.
      real = os.path.realpath(os.path.join(path, name))
      if not any(os.path.join(above, "").startswith(os.path.join(real, "")) for above in chain):
        chains[os.path.join(path, name)] = (*chain, real)
        folders.append(name)
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
    raise settings.InputError(
      "folder_labels",
      f"expected files named CLASS_NAME.png for prefix, received {listing.printable(name)}",
    )
  return first
