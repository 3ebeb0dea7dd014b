"""What a request is refused with: one name, as gRPC has it, and its HTTP status."""

import re

HTTP = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "TOO_LARGE": 413, "TOO_SLOW": 408, "INTERNAL": 500,
        "UNAVAILABLE": 503}


class Refused(Exception):
  """A request that is not answered."""

  def __init__(self, code, message):
    super().__init__(message)
    self.code, self.message = code, message

  @property
  def http_status(self):
    return HTTP[self.code]


def invalid(name, expected, received):
  """The `Refused` of an argument."""
  return Refused("INVALID_ARGUMENT", f"{name}: expected {expected}, received {received}")


def of_graph(error):
  """The `Refused` of an `InvalidArgumentError` of a graph: the words of its assertion."""
  found = re.search(r"assertion failed: ((\[[^\]]*\] ?)+)", str(error))
  words = " ".join(re.findall(r"\[([^\]]*)\]", found.group(1))) if found else str(error).splitlines()[0]
  return Refused("INVALID_ARGUMENT", words)
