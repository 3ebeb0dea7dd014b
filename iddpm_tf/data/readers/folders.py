"""Folders of pictures: DIR/*.png, DIR/CLASS/*.png, DIR/train/CLASS/*.png, and so on."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
import hashlib
import os
import pathlib

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data.readers import listing

_NAMES = {
  "train": ("train", "training"),
  "val": ("val", "valid", "validation"),
  "test": ("test", "testing"),
}
_LAYOUT = "a folder of pictures, or one with sub-folders train and test (or val, or validation)"


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits that the folder has.

  `val` is a split of its own only where there is a test split, too. Otherwise it is the test split.

  Raises:
    InputError: there is no such folder, or it has pictures outside its splits.
  """
  folders = _split_folders(config)
  return _names(folders, config)


def _names(folders: Collection[str], config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits of a folder with these sub-folders."""
  return ("train", "test") if config.test_share else tuple(folders)


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split. The classes of all splits are numbered as in `train`.

  Raises:
    InputError: there is no such folder, split or picture, or some pictures have no label.
  """
  folders = _split_folders(config)
  if split not in _names(folders, config):
    expected = "train, val and test" if split == "val" else "train and test (or val, or validation)"
    raise settings.InputError(
      "data_dir",
      f"expected a folder with sub-folders {expected} for the split {split!r}, received "
      f"{config.data_dir}, which has {', '.join(folders)} only; take the split 'train', or hold "
      "out a share of the pictures before training, such as test_share=0.1",
    )
  pictures = _Folder(folders.get(split, folders["train"]), config)
  if config.test_share:
    pictures.hold_out(config.test_share, held_out=split == "test")
  elif split != "train":
    pictures.number_by(_Folder(folders["train"], config).class_names)
  if not config.test_share and tuple(folders) != ("train",):
    pictures.layout = _layout(folders)
  return pictures


class _Folder(listing.Listing):
  """A listing of the pictures in a folder and its sub-folders, sorted by their paths."""

  name = "folder"

  def __init__(self, folder: pathlib.Path, config: config_lib.DataConfig):
    self._folder = folder
    self._names, self.ignored = _scan(folder, _endings(config))
    if not self._names:
      raise settings.InputError(
        "data_dir",
        f"expected pictures ({', '.join(config.extensions)}) in {folder}, received "
        f"{listing.describe_without_pictures(self.ignored)}",
      )
    self._class_of = _CLASS_OF[config.folder_labels]
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
    self.number_by(_ordered(self._own_classes, config.class_order))

  def hold_out(self, share: float, *, held_out: bool) -> None:
    """Keeps the share of the pictures that is held out, or else the others.

    The hashes of their names decide, so that they are the same in every run, and nearly the same
    after pictures were added.
    """
    count = min(max(1, round(share * len(self._names))), len(self._names) - 1)
    if not count:
      raise settings.InputError(
        "test_share", f"expected two pictures or more in {self._folder}, received one"
      )
    ranked = sorted(self._names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    chosen = set(ranked[:count])
    self._names = tuple(name for name in self._names if (name in chosen) == held_out)
    self.layout = (
      f"test is a share of {share} of {self._folder}, {count:,} of {len(ranked):,} pictures; train "
      "is the rest"
    )

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


def _split_folders(config: config_lib.DataConfig) -> dict[str, pathlib.Path]:
  """Returns the folder of each split, `train` first."""
  folder = listing.require_data_dir(config, _LAYOUT)
  folders = _folders_by_name(folder, config.folder_splits, _endings(config))
  if "train" not in folders:
    return {"train": folder}
  if "test" not in folders and "val" in folders:
    folders["test"] = folders.pop("val")
  # A class may be called train, or test. Its neighbours must not be lost.
  if path := _pictures_beside(folder, folders.values(), _endings(config)):
    names = " and ".join(path.name for path in folders.values())
    raise settings.InputError(
      "data_dir",
      f"expected all pictures of {folder} in its splits, {names}, received "
      f"{listing.printable(str(path))}, which is in none and would be left out; move it, or, if "
      f"these are all classes, set folder_splits to 'none', or give {folders['train']} alone",
    )
  if config.test_share and "test" in folders:
    raise settings.InputError(
      "test_share",
      f"expected 0, because {folders['test']} is a test split, received {config.test_share}",
    )
  return folders


def _folders_by_name(
  folder: pathlib.Path, rule: str, endings: tuple[str, ...]
) -> dict[str, pathlib.Path]:
  """Returns the sub-folders that are named as splits, by split, `train` first."""
  if rule == "none":
    return {}
  if rule == "lowercase":
    test = next(
      (name for name in ("test", "val", "validation") if (folder / name).is_dir()), "test"
    )
    named = {"train": folder / "train", "test": folder / test}
    return {split: path for split, path in named.items() if path.is_dir()}
  found: dict[str, pathlib.Path] = {}
  for split, names in _NAMES.items():
    for path in sorted(folder.iterdir()):
      if path.name.lower() not in names or not path.is_dir():
        continue
      if split == "train" or _scan(path, endings)[0]:  # An empty folder is no second split.
        if split in found:
          raise settings.InputError(
            "data_dir",
            f"expected one sub-folder for the split {split!r}, received {found[split].name} and "
            f"{path.name} in {folder}; if they are classes, set folder_splits to 'none'",
          )
        found[split] = path
  return found


def _layout(folders: dict[str, pathlib.Path]) -> str:
  """Returns what was taken as which split, or nothing where the names say it."""
  if {split: path.name for split, path in folders.items()} == {"train": "train", "test": "test"}:
    return ""
  parts = [f"{split} is {listing.printable(path.name)}" for split, path in folders.items()]
  use = "; val is for choosing, test for reporting" if "val" in folders else ""
  return f"splits: {', '.join(parts)}{use}"


def _ordered(class_names: Collection[str], order: str) -> list[str]:
  """Returns class names in the order of their numbers."""
  if order == "natural" and all(name.isascii() and name.isdecimal() for name in class_names):
    return sorted(class_names, key=lambda name: (int(name), name))
  return sorted(class_names)


def _endings(config: config_lib.DataConfig) -> tuple[str, ...]:
  return tuple(f".{extension.lower()}" for extension in config.extensions)


def _pictures_beside(
  folder: pathlib.Path, used: Collection[pathlib.Path], endings: tuple[str, ...]
) -> pathlib.Path | None:
  """Returns the first picture, or sub-folder with pictures, outside the `used` sub-folders."""
  for path in sorted(folder.iterdir()):
    if path in used or path.name.startswith("."):
      continue
    is_picture = not path.is_dir() and path.name.lower().endswith(endings)
    if is_picture or (path.is_dir() and _scan(path, endings)[0]):
      return path
  return None


def _scan(
  folder: pathlib.Path, endings: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
        names = pictures if name.lower().endswith(endings) else others
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
