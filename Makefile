PORT ?= $(or $(DIFFUSER_PORT),3000)
# 0.0.0.0 opens it to other machines (docs/access.md).
HOST ?= $(or $(DIFFUSER_HOST),127.0.0.1)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# torch's CPU build suffices without a GPU.
VARIANT ?= $(if $(wildcard /dev/nvidiactl),cuda,cpu)

# Environments of other people's programs, of which pictures are taken.
IN ?= $(HOME)/.cache/jubako-pictures

# Processes that run tests; each of them may start servers, which take a GB or two. One more than there are cores, at
# most four, since tests of servers wait for a quarter of their time.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4)))
PYTEST := $(BIN)/python -W ignore::ResourceWarning -m pytest
RELIABILITY := OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.reliability
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1
# Its warnings at each start about unused image processors would hide what matters.
export TRANSFORMERS_VERBOSITY ?= error
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Modules are compiled when they are first imported, which the environment must not forbid: compiling all of them takes
# nearly as long as installing them.
PIP := $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test test-needs test-fast test-image check format compose-secrets lock bento image benchmark benchmark-cache benchmark-growth benchmark-reference benchmark-story figures gpu-check gpu-wheels chaos fuzz soak parity clean configuration licences sbom pictures pictures-clients

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve $(VENV)/.ui ## Serve the embedded model on PORT (3000) of this machine (HOST=0.0.0.0 for others)
	@echo "The page will be at http://localhost:$(PORT)/ui, the API at http://localhost:$(PORT)"
	$(BIN)/bentoml serve service:Jubako --host $(HOST) --port $(PORT)

test: test-needs ## Run all tests but the image's (ARGS="-k name" to choose)
	$(PYTEST) $(PARALLEL) $(ARGS)

test-needs: $(VENV)/.dev $(VENV)/.ui
	@tools/need-redis
	@tools/need-prometheus
	@tools/need-iproute2
	@tools/need-nginx
	@tools/need-chromium
	@tools/need-clients

test-fast: $(VENV)/.dev ## Run the tests without servers and network, in less than a minute
	$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

test-image: $(VENV)/.dev ## Build the CPU image and run it, as root and for minutes
	@tools/need-buildah
	@tools/need-chromium
	$(PYTEST) -m image --timeout 1500 -o faulthandler_timeout=1500 $(ARGS)

check: $(VENV)/.dev ## Lint, formatting, floors, types, known vulnerabilities: the gate
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tools.supply.audit

format: $(VENV)/.dev ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

benchmark: $(VENV)/.dev ## Compare Jubako with LitServe, Ray Serve, BentoML's batching and a plain server (ARGS=--quick)
	@tools/need-peers
	$(BIN)/python -m benchmarks.serving $(ARGS)

benchmark-cache: $(VENV)/.dev ## Measure what a step cache saves and costs, beside fewer steps (ARGS=--quick)
	$(BIN)/python -m benchmarks.step_cache $(ARGS)

benchmark-growth: $(VENV)/.dev ## Measure how cost grows with callers, jobs, models, steps and sizes (ARGS=--quick)
	$(BIN)/python -m benchmarks.growth $(ARGS)

figures: $(VENV)/.dev ## Count what the catalogue's models need, on their modules without weights (ARGS="sdxl flux-dev", or --check)
	$(BIN)/python -m models.weights.counting $(ARGS)

gpu-check: ## Measure the engine on a GPU, with full-size models of random weights: ten minutes (docs/gpu.md)
	@tools/gpu-check $(ARGS)

gpu-wheels: $(VENV)/.serve ## Download what gpu-check needs on a bare GPU machine (ARGS=3.12, its python)
	@tools/gpu-wheels $(ARGS)

benchmark-story: $(VENV)/.dev ## Compare a story generated in parallel with one generated frame by frame
	$(BIN)/python -m benchmarks.stories $(ARGS)

benchmark-reference: $(VENV)/.dev ## Measure what a reference contributes to a story that does not name its character (ARGS=--quick)
	$(BIN)/python -m benchmarks.stories.unnamed $(ARGS)

chaos: $(VENV)/.dev ## Kill and stall everything while jobs and requests go on, for minutes (ARGS="--seed 2")
	@tools/need-redis
	$(RELIABILITY).chaos $(ARGS)

fuzz: $(VENV)/.dev ## Send ten thousand requests that nobody should send (ARGS="--seed 2")
	$(RELIABILITY).fuzz $(ARGS)

soak: $(VENV)/.dev ## Use a server for two hours, and watch its memory, files and latency (ARGS="--minutes 10")
	$(RELIABILITY).soak $(ARGS)

parity: $(VENV)/.dev ## Compare shared batches with the plain pipelines, for every family (docs/parity.md)
	$(BIN)/python -m tests.support.engine.parity docs/parity.md

bento: $(VENV)/.dev ## Pack the Bento (VARIANT=cpu|cuda; WITH=sdxl,... to carry weights; EXTRAS=upscale)
	$(BIN)/python -m deploy.image $(VARIANT) --base "$(BASE)" --carry "$(WITH)" --extras "$(EXTRAS)"

image: $(VENV)/.dev ## Pack it and build its container image (also BASE=image, BACKEND=docker|podman|buildah)
	$(BIN)/python -m deploy.image $(VARIANT) --base "$(BASE)" --carry "$(WITH)" --extras "$(EXTRAS)" --image --backend "$(BACKEND)"

configuration: $(VENV)/.dev ## Update the tables of docs/configuration.md, and .env.example
	$(BIN)/python -m settings

licences: $(VENV)/.dev $(VENV)/.ui ## Update the table of docs/licences.md
	$(BIN)/python -m tools.supply.licences

sbom: $(VENV)/.dev ## Write jubako.cdx.json, the contents of IMAGE (jubako:cpu), or of the folder of that name
	$(BIN)/python -m tools.supply.sbom $(or $(IMAGE),jubako:cpu) jubako.cdx.json $(addprefix --backend=,$(BACKEND))

compose-secrets: ## Create the missing secrets of deploy/compose.yaml
	deploy/compose-secrets

lock: ## Update constraints*.txt from pyproject.toml
	PYTHON=$(PYTHON) tools/lock

pictures: $(VENV)/.dev $(VENV)/.ui ## Update the pictures of the page to play with, docs/pictures/page-*.jpg
	@tools/need-chromium
	$(BIN)/python -m tools.pictures.ui_page

pictures-clients: $(VENV)/.dev ## Update those of other programs, docs/pictures/client-*.jpg (IN=folder, for several GB)
	@tools/need-chromium
	@tools/need-pictured-clients "$(IN)"
	$(BIN)/python -m tools.pictures.clients "$(IN)"

clean: ## Remove the environment and all caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# With a recent pip where there is one: the one that comes with Python 3.11 takes half as long again.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	-$(PIP) --upgrade 'pip>=26'

# One stamp per set of dependencies: pip runs again only when a declaration or the lock is newer.
$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): a minute or two, and the download of 1 GB where it is the first"
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

# The page's packages stand apart, since Gradio wants an older Pillow; what they share with the service is there already.
$(VENV)/.ui: constraints-ui.txt | $(VENV)/.serve
	$(PIP) --no-deps --upgrade --target $(VENV)/jubako-ui --requirement constraints-ui.txt
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt constraints-dev.txt constraints-upscale.txt | $(BIN)/python
	$(PIP) --constraint constraints-dev.txt --editable '.[dev,bench]'
	# The extra `upscale` as its tests need it, without the torchvision that would have to match torch.
	$(PIP) --no-deps --requirement constraints-upscale.txt
	@touch $@ $(VENV)/.serve
