"""Which process of how many this is, by the environment."""

import json
import pathlib
import re

import pytest
import yaml

from iddpm_tf import settings
from iddpm_tf.settings import arguments
from iddpm_tf.settings import flagfile
from iddpm_tf.utils import cluster
from tests.docs import code_blocks
from trainers import train

TF_CONFIG = {
  "cluster": {"chief": ["a:1"], "worker": ["b:1", "c:2"]},
  "task": {"type": "worker", "index": 1},
}
SLURM = {
  "SLURM_PROCID": "3",
  "SLURM_NTASKS": "5",
  "SLURM_JOB_NODELIST": "gpu[01-02],login",
  "SLURM_TASKS_PER_NODE": "2(x2),1",
  "SLURM_JOB_ID": "4097",
}
KUBERNETES = {
  "JOB_COMPLETION_INDEX": "2",
  "WORKERS": "3",
  "HOSTNAME": "cifar-10-2",
  "SERVICE": "train",
}


def test_a_process_without_variables_is_alone():
  assert cluster.from_environment({}) is None
  assert cluster.from_environment({"TF_CONFIG": "", "SLURM_PROCID": "0"}) is None
  assert cluster.from_environment({"TF_CONFIG": "{}"}) is None


def test_the_chief_is_the_first_worker():
  found = cluster.from_environment({"TF_CONFIG": json.dumps(TF_CONFIG)})
  assert found == cluster.Cluster(("a:1", "b:1", "c:2"), 2, "TF_CONFIG")
  assert not found.is_chief
  # What TensorFlow then reads means the same.
  again = cluster.from_environment({"TF_CONFIG": found.tf_config()})
  assert again == found


def test_one_worker_is_alone():
  alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
  assert cluster.from_environment({"TF_CONFIG": json.dumps(alone)}) is None
  assert cluster.from_environment({**SLURM, "SLURM_NTASKS": "1"}) is None


def test_slurm_describes_tasks_by_nodes():
  found = cluster.from_environment(SLURM)
  hosts = ("gpu01:12346", "gpu01:12347", "gpu02:12346", "gpu02:12347", "login:12346")
  assert found == cluster.Cluster(hosts, 3, "SLURM")
  # A step may have fewer tasks than the job.
  step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "x[8-9]"}
  step |= {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1"}
  assert cluster.from_environment(SLURM | step).workers == ("x8:12346", "x9:12346")


def test_kubernetes_describes_pods_by_the_name_of_the_job():
  found = cluster.from_environment(KUBERNETES)
  hosts = ("cifar-10-0.train:12345", "cifar-10-1.train:12345", "cifar-10-2.train:12345")
  assert found == cluster.Cluster(hosts, 2, "Kubernetes")


def test_tf_config_comes_first():
  environ = {**SLURM, **KUBERNETES, "TF_CONFIG": json.dumps(TF_CONFIG)}
  assert cluster.from_environment(environ).source == "TF_CONFIG"


@pytest.mark.parametrize(
  "environ, words",
  [
    ({"TF_CONFIG": "{"}, "TF_CONFIG: expected {"),
    ({"TF_CONFIG": "[1]"}, "TF_CONFIG: expected {"),
    ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "TF_CONFIG: expected {"),
    ({"TF_CONFIG": json.dumps(TF_CONFIG | {"task": {"type": "ps", "index": 0}})}, "TF_CONFIG:"),
    ({"TF_CONFIG": json.dumps(TF_CONFIG | {"task": {"type": "worker", "index": 2}})}, "worker 2"),
    ({"TF_CONFIG": "[" * 100_000}, "TF_CONFIG: expected {"),
    (SLURM | {"SLURM_NTASKS": "4"}, "SLURM_NTASKS: expected 5, the tasks on gpu"),
    (SLURM | {"SLURM_PROCID": "5"}, "SLURM_PROCID below it, received 5 and 5"),
    (SLURM | {"SLURM_PROCID": "x"}, "SLURM_PROCID: expected a whole number"),
    (SLURM | {"SLURM_JOB_NODELIST": "gpu[1-2-3]"}, "SLURM_JOB_NODELIST: expected names such as"),
    (SLURM | {"SLURM_JOB_NODELIST": "gpu[1"}, "SLURM_JOB_NODELIST: expected names such as"),
    (SLURM | {"SLURM_JOB_NODELIST": "gpu[1-99999999]"}, "SLURM_JOB_NODELIST: expected names"),
    (KUBERNETES | {"SERVICE": ""}, "WORKERS: expected HOSTNAME, SERVICE"),
    (KUBERNETES | {"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX below WORKERS"),
  ],
)
def test_variables_that_contradict_each_other_are_one_line(environ, words):
  with pytest.raises(settings.InputError) as caught:
    cluster.from_environment(environ)
  assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "text, names",
  [
    ("a", ["a"]),
    ("a,b", ["a", "b"]),
    ("n[1-3]", ["n1", "n2", "n3"]),
    ("n[08-11,3],x", ["n08", "n09", "n10", "n11", "n3", "x"]),
    ("r[1-2]n[1-2]-ib", ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]),
  ],
)
def test_the_short_form_of_nodes(text, names):
  assert cluster.expand_hosts(text) == names


@pytest.mark.parametrize("kind", ["one_device", "mirrored", "tpu"])
def test_a_cluster_that_would_not_be_used_is_an_error(kind):
  message = f"strategy: expected auto or multi_worker, because SLURM describes 5 .* received {kind}"
  with pytest.raises(settings.InputError, match=message):
    cluster.for_strategy(kind, SLURM)
  assert cluster.for_strategy(kind, {}) is None


def test_several_workers_must_be_described():
  assert len(cluster.for_strategy("multi_worker", SLURM).workers) == 5
  assert cluster.for_strategy("auto", SLURM) and cluster.for_strategy("auto", {}) is None
  with pytest.raises(settings.InputError, match="strategy: expected several workers in TF_CONFIG"):
    cluster.for_strategy("multi_worker", {})
  with pytest.raises(settings.InputError, match="strategy: expected one of auto, one_device"):
    cluster.for_strategy("fast", {})


def block(language):
  page = pathlib.Path(code_blocks.ROOT / "docs/clusters.md").read_text()
  (found,) = [block for block in code_blocks.blocks(page) if block.language == language]
  return found.text


def test_the_manifest_of_the_page_describes_its_workers():
  service, job = yaml.safe_load_all(block("yaml"))
  spec = job["spec"]
  pod = spec["template"]["spec"]
  (container,) = pod["containers"]
  environ = {entry["name"]: entry["value"] for entry in container["env"]}
  # What Kubernetes sets in an Indexed Job.
  environ |= {"JOB_COMPLETION_INDEX": "1", "HOSTNAME": f"{job['metadata']['name']}-1"}
  found = cluster.from_environment(environ)
  assert len(found.workers) == spec["completions"] == spec["parallelism"] and found.number == 1
  name = service["metadata"]["name"]
  assert found.workers[0] == f"{job['metadata']['name']}-0.{name}:12345"
  assert pod["subdomain"] == name and service["spec"]["clusterIP"] == "None"
  assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
  (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
  assert mount["name"] == volume["name"]
  assert any(arg.startswith(f"--model_dir={mount['mountPath']}/") for arg in container["args"])
  assert (code_blocks.ROOT / container["args"][0].partition("=")[2]).is_file()


def test_the_script_of_the_page_asks_for_what_training_answers():
  script = block("bash")
  (command,) = re.findall(r"^srun python -m trainers.train (.*)$", script, re.MULTILINE)
  _, job = yaml.safe_load_all(block("yaml"))
  (container,) = job["spec"]["template"]["spec"]["containers"]
  for texts in (command.split(), container["args"]):
    values = arguments.parse(flagfile.expand(texts), train.COMMAND._flags())
    assert {"model_dir", "base_channels"} < values.keys()
  assert train.COMMAND.main.__module__ in block("dockerfile")
  assert re.search(r"--signal=USR1@\d+", script) and "-eq 138" in script and "-eq 5" in script
