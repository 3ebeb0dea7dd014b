# make demo, make test: each makes its own virtual environment; Python 3.10 to 3.13 and make are enough.

# The first Python that runs and that TensorFlow supports.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
RUN = .venv/bin/python -m
TEST = .venv-test/bin/python -m
DEMO = demo
BENCH = bench

# Containers often set it. Without its bytecode, every process compiles TensorFlow anew, which takes ten seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: bench growth demo test lint docs quality reference super_resolution likelihood_budget reproduce ten_thousand browser stand-in test-beam test-faults test-serving clean

demo: .venv/installed
	$(RUN) trainers.train --flagfile=configs/digits.flags --model_dir=$(DEMO)/digits
	$(RUN) trainers.sample --model_dir=$(DEMO)/digits --num_samples=100 --output_dir=$(DEMO)
	cp $(DEMO)/ancestral_100.png $(DEMO)/samples.png
	$(RUN) trainers.evaluate --model_dir=$(DEMO)/digits --nll --num_examples=100
	$(RUN) trainers.export --model_dir=$(DEMO)/digits --output_dir=$(DEMO)/saved_models --verify
	@echo "look at $(DEMO)/samples.png, and run: .venv/bin/tensorboard --logdir=$(DEMO)"

# In two processes of one thread each: most of the time goes into tracing graphs, which one core does. What takes longest begins first
# (tests/conftest.py), so that both end at once.
test: export TF_NUM_INTRAOP_THREADS = 1
test: .venv-test/installed
	$(TEST) pytest -n 2 --dist loadfile --no-loadscope-reorder

# Style and types.
lint: .venv-test/installed
	$(TEST) ruff check .
	$(TEST) ruff format --check .
	$(TEST) mypy

# The documentation, into site/. The variable hides a notice about later versions of MkDocs.
docs: .venv-test/installed
	NO_MKDOCS_2_WARNING=1 $(TEST) mkdocs build --strict

# Train (or take the demo's model), draw 500 images, and let an SVM of the real digits read them.
quality: .venv-test/installed
	$(TEST) pytest -s tests/long/test_quality.py $(patsubst %,--model_dir=%,$(wildcard $(DEMO)/digits))

# Bits/dim against the authors' code, on the same data.
reference: .venv-test/installed
	$(TEST) pytest -s tests/long/test_reference.py

# Two stages of digits, read by the SVM, and an upsampler of photographs against bicubic interpolation.
super_resolution: .venv-test/installed
	$(TEST) pytest -s tests/long/test_super_resolution.py

# The full sum of a model with T = 4000, against 20 estimates of it and 120 coarser ones.
likelihood_budget: .venv-test/installed
	$(TEST) pytest -s tests/long/test_likelihood_budget.py

# The paper's studies on the embedded data; killed, it goes on. EXPERIMENT=fig2 for one of them.
REPRODUCED = reproduced
EXPERIMENT = all
# Where the CPU has instructions for bfloat16, the models of a new folder are trained in it, in two thirds of the time. A folder keeps its precision.
PRECISION = $(if $(wildcard $(REPRODUCED)/*),,$(if $(shell grep -s -m 1 -w -e avx512_bf16 -e amx_bf16 /proc/cpuinfo),mixed_bfloat16))
reproduce: .venv/installed
	$(RUN) trainers.reproduce --experiment=$(EXPERIMENT) --scale=small --output_dir=$(REPRODUCED) $(addprefix --precision=,$(PRECISION))

# Ten thousand pictures, some of them broken, prepared, killed and resumed.
ten_thousand: .venv-test/installed
	$(TEST) pytest -s tests/long/test_ten_thousand.py

# Speed and memory beside PyTorch, and beside the convolutions alone; on an idle machine. NETWORK=tiny to try it.
NETWORK = cifar10
bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.speed --network=$(NETWORK) --output_dir=$(BENCH)

# How time and memory grow with the batch, the pixels, the channels, the sampling steps and the replicas.
growth: .venv/installed
	$(RUN) benchmarks.speed --growth --network=$(NETWORK) --output_dir=$(BENCH)

# Kills, power losses, damaged files, full disks, divergence and several workers. Mounting file systems needs root. More
# threads than cores would wait for each other.
test-faults: export TF_NUM_INTRAOP_THREADS = 1
test-faults: .venv-test/installed
	$(TEST) pytest -n 2 --dist loadgroup --no-loadscope-reorder -rP tests/long/test_faults.py tests/long/test_workers.py tests/long/test_combinations.py

# Every experiment at the paper's scales by the real commands, on made-up data, with narrow networks.
stand-in: .venv-test/installed
	$(TEST) pytest -s tests/long/test_scales.py

# Records by Apache Beam. In an environment of its own: Beam requires earlier versions of some packages.
test-beam: .venv-beam/installed
	.venv-beam/bin/python -m pytest -s tests/long/test_beam.py tests/data/records/test_beam.py

# The development server under 50 clients for a minute; and TensorFlow Serving itself, where docker has its image.
test-serving: .venv-test/installed
	$(TEST) pytest -s tests/long/test_overload.py tests/long/test_container.py

# Pages in headless Chromium, which is not installed here: apt-get install chromium, or playwright install chromium.
browser: .venv-test/installed
	.venv-test/bin/python -m pip install --quiet --editable '.[browser]'
	$(TEST) pytest tests/browser $(patsubst %,--reproduced=%,$(wildcard $(REPRODUCED)))

# uv installs faster than pip. Where it cannot, pip does. uv takes the package index of pip's settings. Python compiles what is
# imported, a small part of TensorFlow.
define make_environment
	@test -n "$(PYTHON)" || { echo "make: expected Python 3.10 to 3.13 on the path, found none" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --upgrade pip
	-$(@D)/bin/python -m pip install -qq uv
endef
define install
	index=$$($(@D)/bin/python -m pip config list | sed -n "s/.*[.]index-url='\(.*\)'$$/\1/p" | tail -n 1); \
	$(@D)/bin/uv pip install -q --python $(@D) $${index:+--default-index "$$index"} --editable '.$(EXTRAS)' || $(@D)/bin/python -m pip install -qq --no-compile --editable '.$(EXTRAS)'
	touch $@
endef
# PyTorch's build without CUDA, which is a tenth of the default one.
define install_torch
	$(@D)/bin/python -m pip install -qq --no-compile --retries 1 --no-deps 'torch==2.13.0' --extra-index-url https://download.pytorch.org/whl/cpu
endef

.venv/installed: EXTRAS =
.venv/installed: setup.cfg
	$(make_environment)
	$(install)

.venv-test/installed: EXTRAS = [docs,lint,serving,test,torch]
.venv-test/installed: setup.cfg
	$(make_environment)
	$(install_torch)
	$(install)

.venv-beam/installed: EXTRAS = [beam,test]
.venv-beam/installed: setup.cfg
	$(make_environment)
	$(install)

.venv-bench/installed: EXTRAS = [bench]
.venv-bench/installed: setup.cfg
	$(make_environment)
	$(install_torch)
	$(install)

clean:
	rm -rf .venv .venv-beam .venv-bench .venv-test $(BENCH) $(DEMO) site
