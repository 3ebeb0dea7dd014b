"""Registries of implementations by name, such as the samplers."""

from collections.abc import Callable
import importlib
import importlib.util
import pkgutil
from typing import Generic
from typing import TypeVar

from iddpm_tf.settings.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
  """Implementations of one kind, by name.

  Each module of a package registers one implementation under the module's own name. A registry
  lists the names without importing the modules, and imports a module when it is first asked for.
  Other code can register implementations, too:

  ```python
  @SAMPLERS.register("heun")
  class Heun(Sampler): ...
  ```
  """

  def __init__(self, setting: str, package: str, helpers: tuple[str, ...] = ()):
    """Makes the registry.

    Args:
      setting: the name of the setting that chooses an implementation, for errors.
      package: the full name of the package.
      helpers: modules of the package that register nothing. Modules whose names begin with an
        underscore register nothing either.
    """
    self._setting, self._package, self._helpers = setting, package, helpers
    self._registered: dict[str, T] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that registers a class under `name`, and sets its attribute `name`."""

    def add(implementation: T) -> T:
      if isinstance(implementation, type) and not hasattr(implementation, "name"):
        setattr(implementation, "name", name)  # noqa: B010 - mypy knows no such attribute.
      self._registered[name] = implementation
      return implementation

    return add

  def names(self) -> tuple[str, ...]:
    """Returns all names, sorted."""
    spec = importlib.util.find_spec(self._package)
    assert spec is not None
    contents = pkgutil.iter_modules(spec.submodule_search_locations)
    modules = {module.name for module in contents if not module.name.startswith("_")}
    return tuple(sorted((modules - set(self._helpers)) | self._registered.keys()))

  def get(self, name: str) -> T:
    """Returns the implementation of a name.

    Raises:
      InputError: there is none of this name.
    """
    if name not in self._registered:
      if name not in self.names():
        message = f"expected one of {', '.join(self.names())}, received {name!r}"
        raise InputError(self._setting, message)
      importlib.import_module(f"{self._package}.{name}")
      if name not in self._registered:
        message = f"expected {self._package}.{name} to register {name!r}, received another name"
        raise InputError(self._setting, message)
    return self._registered[name]
