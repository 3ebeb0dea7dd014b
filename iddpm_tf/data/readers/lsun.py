"""LSUN as its makers publish it: one LMDB of WebP files a category and split."""

import bisect
import contextlib
import importlib
import itertools

from iddpm_tf import settings
from iddpm_tf.data.readers import listing

_LAYOUT = (
  "an LMDB (a folder with data.mdb), or a folder with some named *_train_lmdb and *_val_lmdb"
)
_ENDINGS = {"train": "_train_lmdb", "test": "_val_lmdb"}


def splits(config):
  """The splits that a folder of LMDBs has."""
  return tuple(_environments(listing.require_data_dir(config, _LAYOUT)))


def open_listing(config, split):
  """The `Listing` of a split; `test` is *_val_lmdb. Several categories are classes; one has no labels."""
  folder = listing.require_data_dir(config, _LAYOUT)
  environments = _environments(folder)
  if split not in environments:
    raise settings.InputError(
      "data_dir",
      f"expected an LMDB named *{_ENDINGS[split]} in {folder}, since {split!r} is asked for; "
      "found none",
    )
  train = sorted(environments.get("train", {}))
  if unknown := sorted(set(environments[split]) - set(train)):
    raise settings.InputError(
      "data_dir", f"expected {folder} to have {unknown[0]}_train_lmdb beside {unknown[0]}_val_lmdb"
    )
  return _Lsun(environments[split], train)


class _Lsun(listing.Listing):
  """The values of one LMDB or more, in the order of their keys. Keys are in memory, values on disk."""

  name = "lsun"

  def __init__(self, environments, categories):
    self.class_names = tuple(categories) if len(categories) > 1 else ()
    self.num_classes = len(self.class_names)
    self._parts = [(category, environments[category]) for category in sorted(environments)]
    self._keys = [_keys(path) for _, path in self._parts]
    self._ends = list(itertools.accumulate(map(len, self._keys)))
    if not len(self):
      raise settings.InputError("data_dir", f"expected pictures in {self._parts[0][1]}, found none")

  def __len__(self):
    return self._ends[-1]

  def pictures(self, start, stop):
    while start < stop:
      number = bisect.bisect_right(self._ends, start)
      category, path = self._parts[number]
      label = self.class_names.index(category) if self.num_classes else 0
      first, end = self._ends[number] - len(self._keys[number]), min(stop, self._ends[number])
      with _reading(path) as transaction:
        for key in self._keys[number][start - first : end - first]:
          yield listing.Picture(self._name(category, key), transaction.get(key, b""), label)
      start = end

  def identities(self):
    for (category, _), keys in zip(self._parts, self._keys):
      yield from (self._name(category, key) for key in keys)

  def _name(self, category, key):
    text = key.decode("ascii", "backslashreplace")
    return f"{category}/{text}" if self.num_classes else text


def _environments(folder):
  """{split: {category: folder of an LMDB}}."""
  if (folder / "data.mdb").is_file():
    return {"train": {folder.name: folder}}
  found = {
    split: {
      path.name.removesuffix(ending): path
      for path in sorted(folder.glob(f"*{ending}"))
      if (path / "data.mdb").is_file()
    }
    for split, ending in _ENDINGS.items()
  }
  if not found["train"]:
    raise settings.InputError("data_dir", f"expected {_LAYOUT}, received {folder}")
  return {split: environments for split, environments in found.items() if environments}


def _keys(path):
  with _reading(path) as transaction, transaction.cursor() as cursor:
    return list(cursor.iternext(keys=True, values=False))


@contextlib.contextmanager
def _reading(path):
  """A transaction that only reads. Opened anew each time: a process may hold an LMDB open once."""
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
    raise settings.InputError(path, f"cannot be read as an LMDB ({error})") from None
