"""Folders of pictures: DIR/*.png, DIR/CLASS/*.png, DIR/train/CLASS/*.png, and so on."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import os
import pathlib

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data.readers import listing

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_TEST_NAMES = ("test", "val", "validation")
_LAYOUT = "a folder of pictures, or one with sub-folders train and test (or val, or validation)"


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits that the folder has.

  Raises:
    InputError: there is no such folder, or it has pictures outside its splits.
  """
  return tuple(_split_folders(listing.require_data_dir(config, _LAYOUT)))


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split. The classes of `test` are numbered as in `train`.

  Raises:
    InputError: there is no such folder, split or picture, or some pictures have no label.
  """
  folders = _split_folders(listing.require_data_dir(config, _LAYOUT))
  if split not in folders:
    raise settings.InputError(
      "data_dir",
      f"expected a folder with sub-folders train and test (or val, or validation) for the split "
      f"{split!r}, received {config.data_dir}, which has {', '.join(folders)} only",
    )
  pictures = _Folder(folders[split], config.folder_labels)
  if split != "train":
    pictures.number_by(_Folder(folders["train"], config.folder_labels).class_names)
  return pictures


class _Folder(listing.Listing):
  """A listing of the pictures in a folder and its sub-folders, sorted by their paths."""

  name = "folder"

  def __init__(self, folder: pathlib.Path, folder_labels: str):
    self._folder = folder
    self._names, self.ignored = _scan(folder)
    if not self._names:
      others = f" ({len(self.ignored)} other files)" if self.ignored else ""
      raise settings.InputError(
        "data_dir", f"expected pictures ({', '.join(EXTENSIONS)}) in {folder}, found none{others}"
      )
    self._class_of = _CLASS_OF[folder_labels]
    classes = {self._class_of(name) for name in self._names}
    if None in classes and len(classes) > 1:
      name_without_class = next(name for name in self._names if self._class_of(name) is None)
      raise settings.InputError(
        "folder_labels",
        f"expected all pictures of {folder} in sub-folders, or none, received "
        f"{listing.printable(name_without_class)}, which is in no sub-folder; the value 'none' "
        "takes all pictures without labels",
      )
    self._own_classes = {name for name in classes if name is not None}
    self.number_by(sorted(self._own_classes))

  def number_by(self, class_names: Sequence[str]) -> None:
    """Numbers the classes by their positions in `class_names`."""
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

  def __len__(self) -> int:
    return len(self._names)

  def pictures(self, start: int, stop: int) -> Iterator[listing.Picture]:
    for name in self._names[start:stop]:
      class_name = self._class_of(name)
      label = self._numbers[class_name] if class_name is not None else 0
      yield listing.Picture(name, pathlib.Path(self._folder, name), label)

  def identities(self) -> Iterator[str]:
    yield from self.class_names
    yield from self._names


def _split_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the folder of each split, `train` first."""
  train = folder / "train"
  if not train.is_dir():
    return {"train": folder}
  test = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None)
  folders = {"train": train, **({"test": test} if test else {})}
  # A class may be called train, or test. Its neighbours must not be lost.
  if path := _pictures_beside(folder, set(folders.values())):
    names = " and ".join(path.name for path in folders.values())
    raise settings.InputError(
      "data_dir",
      f"expected all pictures of {folder} in its splits, {names}, received "
      f"{listing.printable(str(path))}, which is in neither and would be left out; move it, or, "
      f"if these are all classes, move them into {folder}/train/, or give {folder}/train alone",
    )
  return folders


def _pictures_beside(folder: pathlib.Path, used: set[pathlib.Path]) -> pathlib.Path | None:
  """Returns the first picture, or sub-folder with pictures, outside the `used` sub-folders."""
  for path in sorted(folder.iterdir()):
    if path in used or path.name.startswith("."):
      continue
    if _scan(path)[0] if path.is_dir() else path.name.lower().endswith(EXTENSIONS):
      return path
  return None


def _scan(folder: pathlib.Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Returns the paths of pictures and of other files in a folder, relative to it and sorted.

  Hidden files and folders are left out.
  """
  pictures: list[str] = []
  others: list[str] = []
  # The real paths of each folder that is still to be visited, and of the folders above it.
  ancestors: dict[str, tuple[str, ...]] = {os.fspath(folder): (os.path.realpath(folder),)}

  def fail(error: OSError) -> None:
    raise error

  for path, folders, files in os.walk(folder, followlinks=True, onerror=fail):
    chain, visible = ancestors.pop(path), sorted(x for x in folders if not x.startswith("."))
    folders.clear()
    for name in visible:
      # A link to a folder above would never end. A link to any other folder is a folder of its own.
      real = os.path.realpath(os.path.join(path, name))
      if not any(os.path.join(above, "").startswith(os.path.join(real, "")) for above in chain):
        ancestors[os.path.join(path, name)] = (*chain, real)
        folders.append(name)
    relative = os.path.relpath(path, folder)
    for name in files:
      if not name.startswith("."):
        names = pictures if name.lower().endswith(EXTENSIONS) else others
        names.append(name if relative == "." else f"{relative}/{name}")
  return tuple(sorted(pictures)), tuple(sorted(others))


def _subfolder(name: str) -> str | None:
  """Returns the first sub-folder of a path."""
  first, *rest = name.split("/")
  return first if rest else None


def _prefix(name: str) -> str:
  """Returns a file's name up to its first underscore."""
  first, *rest = name.rsplit("/", 1)[-1].split("_")
  if not rest:
    raise settings.InputError(
      "folder_labels",
      f"expected files named CLASS_NAME.png for 'prefix', received {listing.printable(name)}",
    )
  return first


def _no_class(name: str) -> None:
  del name


_CLASS_OF: dict[str, Callable[[str], str | None]] = {
  "subfolders": _subfolder,
  "prefix": _prefix,
  "none": _no_class,
}
