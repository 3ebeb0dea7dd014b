"""What the clients of both protocols share: their interface, their errors, and retries."""

import abc
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from types import TracebackType
from typing import Any
from typing import TypeVar

import numpy as np

from iddpm_tf import settings

T = TypeVar("T")
C = TypeVar("C", bound="Client")


class ServingError(OSError):
  """A server that does not answer a request as expected. The text contains the server's words."""


class BusyError(ServingError):
  """A server that is overloaded or cannot be reached. The request may succeed later."""


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
  """How long to wait for an answer, and how often to send a request to a busy server.

  Attributes:
    timeout: seconds to wait for the answer to a request.
    attempts: how often to send a request. The pause between two attempts doubles from half a
      second to half a minute, plus a random fraction of half a second.
  """

  timeout: float = 600.0
  attempts: int = 6

  def __post_init__(self) -> None:
    settings.require_positive(self, "timeout", "attempts")

  def call(self, function: Callable[..., T], *arguments: Any) -> T:
    """Returns `function(*arguments)`, which is called again while it raises a `BusyError`.

    The error of the last attempt is raised.
    """
    import tenacity  # This package is optional, and settings are checked without it.

    retrying = tenacity.Retrying(
      stop=tenacity.stop_after_attempt(self.attempts),
      retry=tenacity.retry_if_exception_type(BusyError),
      wait=tenacity.wait_exponential(multiplier=0.5, max=30) + tenacity.wait_random(0, 0.5),
      reraise=True,
    )
    return retrying(function, *arguments)


DEFAULT_RETRY = RetryPolicy()


def shape_of(sizes: Iterable[int]) -> tuple[int | None, ...]:
  """Returns a shape of sizes as servers describe them, of which -1 is any size."""
  return tuple(None if size < 0 else size for size in sizes)


class Client(abc.ABC):
  """A connection to one model of a server. A `with` block closes it."""

  @abc.abstractmethod
  def signatures(self) -> dict[str, tuple[str, ...]]:
    """Returns the names of the inputs of each signature.

    Raises:
      ServingError: the server does not answer.
    """

  @abc.abstractmethod
  def input_shapes(self, signature: str) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each input of a signature by name; None is any size.

    Args:
      signature: the signature's name.

    Raises:
      ServingError: the server does not answer.
    """

  @abc.abstractmethod
  def predict(self, signature: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of a signature.

    Args:
      signature: the signature's name, or "" for the default signature.
      arrays: `{input: array [N, ...]}`.

    Returns:
      `{output: array [N, ...]}`.

    Raises:
      ServingError: the server refuses the request or does not answer.
    """

  @abc.abstractmethod
  def close(self) -> None:
    """Ends the connection."""

  def __enter__(self: C) -> C:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self.close()
