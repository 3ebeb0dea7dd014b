"""LSUN as its authors publish it: one LMDB of WebP files per category and split."""

import bisect
from collections.abc import Iterator
import contextlib
import importlib
import itertools
import pathlib
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data.readers import listing

_LAYOUT = (
  "an LMDB (a folder with data.mdb), or a folder with LMDBs named *_train_lmdb and *_val_lmdb"
)
_ENDINGS = {"train": "_train_lmdb", "test": "_val_lmdb"}


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits that the folder of LMDBs has.

  Raises:
    InputError: there is no such folder, or it has no LMDB.
  """
  return tuple(_environments(listing.require_data_dir(config, _LAYOUT)))


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split; `test` is *_val_lmdb.

  Several categories are classes. A single category has no labels.

  Raises:
    InputError: there is no such folder, LMDB or split, or the package lmdb is missing.
  """
  folder = listing.require_data_dir(config, _LAYOUT)
  environments = _environments(folder)
  if split not in environments:
    raise settings.InputError(
      "data_dir",
      f"expected an LMDB named *{_ENDINGS[split]} in {folder} for the split {split!r}, found none",
    )
  categories = sorted(environments.get("train", {}))
  if unknown := sorted(set(environments[split]) - set(categories)):
    raise settings.InputError(
      "data_dir", f"expected {folder} to have {unknown[0]}_train_lmdb beside {unknown[0]}_val_lmdb"
    )
  return _Lsun(environments[split], categories)


class _Lsun(listing.Listing):
  """A listing of the values of LMDBs in the order of their keys, which are in memory."""

  name = "lsun"

  def __init__(self, environments: dict[str, pathlib.Path], categories: list[str]):
    self.class_names = tuple(categories) if len(categories) > 1 else ()
    self.num_classes = len(self.class_names)
    self._parts = [(category, environments[category]) for category in sorted(environments)]
    self._keys = [_keys(path) for _, path in self._parts]
    self._ends = list(itertools.accumulate(map(len, self._keys)))
    if not len(self):
      message = f"expected pictures in {self._parts[0][1]}, received an LMDB without entries"
      raise settings.InputError("data_dir", message)

  def __len__(self) -> int:
    return self._ends[-1]

  def pictures(self, start: int, stop: int) -> Iterator[listing.Picture]:
    while start < stop:
      number = bisect.bisect_right(self._ends, start)
      category, path = self._parts[number]
      label = self.class_names.index(category) if self.num_classes else 0
      first, end = self._ends[number] - len(self._keys[number]), min(stop, self._ends[number])
      with _reading(path) as transaction:
        for key in self._keys[number][start - first : end - first]:
          yield listing.Picture(self._name(category, key), transaction.get(key, b""), label)
      start = end

  def identities(self) -> Iterator[str]:
    for (category, _), keys in zip(self._parts, self._keys):
      yield from (self._name(category, key) for key in keys)

  def _name(self, category: str, key: bytes) -> str:
    text = key.decode("ascii", "backslashreplace")
    return f"{category}/{text}" if self.num_classes else text


def _environments(folder: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
  """Returns the LMDBs' folders by split and category."""
  if (folder / "data.mdb").is_file():
    return {"train": {folder.name: folder}}
  environments = {
    split: {
      path.name.removesuffix(ending): path
      for path in sorted(folder.glob(f"*{ending}"))
      if (path / "data.mdb").is_file()
    }
    for split, ending in _ENDINGS.items()
  }
  if not environments["train"]:
    raise settings.InputError("data_dir", f"expected {_LAYOUT}, received {folder}")
  return {split: by_category for split, by_category in environments.items() if by_category}


def _keys(path: pathlib.Path) -> list[bytes]:
  with _reading(path) as transaction, transaction.cursor() as cursor:
    return list(cursor.iternext(keys=True, values=False))


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[Any]:
  """Yields a read-only transaction.

  The LMDB is opened anew each time, because a process may hold an LMDB open only once.
  """
  try:
    lmdb = importlib.import_module("lmdb")
  except ImportError:
    raise settings.InputError(
      "dataset", "expected the package lmdb for lsun; run once: pip install 'iddpm_tf[lsun]'"
    ) from None
  try:
    with (
      lmdb.open(str(path), readonly=True, lock=False, readahead=False) as environment,
      environment.begin() as transaction,
    ):
      yield transaction
  except lmdb.Error as error:
    raise settings.InputError(path, f"expected an LMDB, received another file ({error})") from None
