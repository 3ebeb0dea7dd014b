"""The processes that train together, as the environment of a process describes them.

Nothing here imports TensorFlow.
"""

from collections.abc import Mapping
import json
import os
import re
from typing import NamedTuple

from iddpm_tf import settings

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
_PORT = 12345  # Where nothing else names one.
_LARGEST = 10_000  # Workers; more are a mistake.


class Cluster(NamedTuple):
  """The workers, and which one this process is. The first one is the chief, which writes files."""

  workers: tuple[str, ...]  # HOST:PORT of each.
  number: int
  source: str  # What describes it, such as TF_CONFIG.

  @property
  def is_chief(self) -> bool:
    """Whether this process writes the files of a run."""
    return self.number == 0

  def tf_config(self) -> str:
    """Returns the value of TF_CONFIG, which TensorFlow reads."""
    return json.dumps(
      {
        "cluster": {"worker": list(self.workers)},
        "task": {"type": "worker", "index": self.number},
      }
    )


def for_strategy(kind: str, environ: Mapping[str, str] = os.environ) -> Cluster | None:
  """Returns the cluster of a kind of strategy, or None for one without other processes.

  Args:
    kind: one of `STRATEGIES`.
    environ: the environment of the process.

  Raises:
    InputError: the environment describes a cluster that the kind would not use, or none that it
      needs.
  """
  settings.require(kind in STRATEGIES, "strategy", f"one of {', '.join(STRATEGIES)}", kind)
  found = from_environment(environ)
  if kind == "multi_worker" and not found:
    message = (
      "expected several workers in TF_CONFIG, or in SLURM's or Kubernetes' variables, received none"
    )
    raise settings.InputError("strategy", message)
  if found and kind not in ("auto", "multi_worker"):
    raise settings.InputError(
      "strategy",
      f"expected auto or multi_worker, because {found.source} describes {len(found.workers)} "
      f"workers, received {kind}",
    )
  return found


def require_alone(what: str, environ: Mapping[str, str] = os.environ) -> None:
  """Raises an error if the environment describes several workers.

  Args:
    what: what one process does, such as "a likelihood".
    environ: the environment of the process.

  Raises:
    InputError: it does.
  """
  found = from_environment(environ)
  if found:
    message = f"expected one process for {what}, received {len(found.workers)} workers"
    raise settings.InputError(found.source, message)


def from_environment(environ: Mapping[str, str] = os.environ) -> Cluster | None:
  """Returns the cluster that this process belongs to, or None where it is alone.

  TF_CONFIG comes first. Without it, SLURM's variables describe the tasks of a job step, and
  Kubernetes' those of an Indexed Job.

  Raises:
    InputError: the variables contradict each other, or lack something.
  """
  for read in (_tf_config, _slurm, _kubernetes):
    cluster = read(environ)
    if cluster is not None:
      return cluster if len(cluster.workers) > 1 else None
  return None


def _tf_config(environ: Mapping[str, str]) -> Cluster | None:
  text = environ.get("TF_CONFIG", "").strip()
  if not text:
    return None
  expected = 'expected {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type", "index"}}'
  try:
    content = json.loads(text)
    if not content or not content.get("cluster"):
      return None
    jobs, task = content["cluster"], content["task"]
    kind, index = task["type"], int(task["index"])
    hosts = [(name, host) for name in ("chief", "worker") for host in jobs.get(name, ())]
    own = [name for name, _ in hosts].index(kind) + index
    if set(jobs) - {"chief", "worker"} or not 0 <= index < len(jobs[kind]):
      raise KeyError(f"{kind} {index}")
    workers = tuple(str(host) for _, host in hosts)
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    shown = settings.shown(text)
    raise settings.InputError("TF_CONFIG", f"{expected}, received {shown} ({error})") from None
  return Cluster(workers, own, "TF_CONFIG")


def _slurm(environ: Mapping[str, str]) -> Cluster | None:
  tasks = _number(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
  if not tasks or tasks < 2 or "SLURM_PROCID" not in environ:
    return None
  nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
  hosts = expand_hosts(nodes)
  counts = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE", "")
  per_node = _tasks_per_node(counts, hosts, tasks)
  # Jobs that share a node have other ports.
  base = _PORT + int(environ.get("SLURM_JOB_ID", "0") or 0) % 4096
  workers = [f"{host}:{base + k}" for host, count in zip(hosts, per_node) for k in range(count)]
  index = _number(environ, "SLURM_PROCID")
  if len(workers) != tasks or index is None or not 0 <= index < tasks:
    raise settings.InputError(
      "SLURM_NTASKS",
      f"expected {len(workers)}, the tasks on {nodes or 'no nodes'}, and SLURM_PROCID below it, "
      f"received {tasks} and {environ['SLURM_PROCID']}",
    )
  return Cluster(tuple(workers), index, "SLURM")


def _kubernetes(environ: Mapping[str, str]) -> Cluster | None:
  index, count = _number(environ, "JOB_COMPLETION_INDEX"), _number(environ, "WORKERS")
  if index is None or count is None or count < 2:
    return None
  # The name of a pod of an Indexed Job ends with its index, and the service of the job knows it.
  name = re.sub(r"-\d+$", "", environ.get("HOSTNAME", ""))
  service = environ.get("SERVICE", "")
  if not name or not service or not 0 <= index < count:
    raise settings.InputError(
      "WORKERS",
      "expected HOSTNAME, SERVICE (the headless service of the job) and JOB_COMPLETION_INDEX below "
      f"WORKERS, received {name or 'no name'}, {service or 'no service'}, {index} and {count}",
    )
  workers = tuple(f"{name}-{number}.{service}:{_PORT}" for number in range(count))
  return Cluster(workers, index, "Kubernetes")


def expand_hosts(text: str) -> list[str]:
  """Returns the names in SLURM's short form, such as `gpu[01-03,7],login`.

  Raises:
    InputError: the text has another form.
  """
  names: list[str] = []
  for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
    names += _expand(part)
  unbalanced = text.count("[") != text.count("]")
  if not names or len(names) > _LARGEST or unbalanced or "[" in "".join(names):
    raise settings.InputError(
      "SLURM_JOB_NODELIST", f"expected names such as gpu[01-03],login, received {text!r}"
    )
  return names


def _expand(part: str) -> list[str]:
  match = re.fullmatch(r"([^\[\]]*)\[(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\](.*)", part)
  if not match:
    return [part.strip()]
  before, ranges, after = match.groups()
  names: list[str] = []
  for piece in ranges.split(","):
    first, _, last = piece.partition("-")
    last = last or first
    if int(last) - int(first) > _LARGEST:
      return ["["]  # It is refused above.
    numbers = range(int(first), int(last) + 1)
    names += [
      f"{before}{number:0{len(first)}d}{rest}" for number in numbers for rest in _expand(after)
    ]
  return names


def _tasks_per_node(text: str, hosts: list[str], tasks: int) -> list[int]:
  """Returns SLURM's `2(x3),1` as [2, 2, 2, 1]; where it is unset, equal numbers."""
  counts: list[int] = []
  for count, _, repeated in re.findall(r"(\d+)(\(x(\d+)\))?", text):
    counts += [int(count)] * int(repeated or 1)
  return counts or [tasks // len(hosts)] * len(hosts)


def _number(environ: Mapping[str, str], *names: str) -> int | None:
  """Returns the number in the first of some variables that is set, or None."""
  for name in names:
    text = environ.get(name, "").strip()
    if text:
      settings.require(text.isdecimal(), name, "a whole number", text)
      return int(text)
  return None
