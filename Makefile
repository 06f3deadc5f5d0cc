# Everything runs from a fresh clone: the first target that needs it makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
PYTHONS ?= 3.11 3.12 3.13 3.14
.PHONY: help install new drop lock train test test-slow test-pythons lint format bench bench-gpu crash hostile dashboard pictures notebooks clean

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## create .venv with the pinned dependencies and this package

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Descent needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

# name: of your package; to: where, by default beside this directory, `.` for this tree itself
new: ## begin your own project: this tree under another name: make new name=acme
	@$(PYTHON) tools/template.py new name=$(name) to=$(to)

drop: ## take a part out of this tree: make drop part=dashboard (or report, stacks)
	@$(PYTHON) tools/template.py drop part=$(part)

lock: ## write uv.lock anew, with the versions of constraints.txt
	uv lock $$(sed -n 's/^[A-Za-z].*==.*/--upgrade-package &/p' constraints.txt)

train: $(READY) ## train the default model on digits: make train ARGS="optimizer=adam"
	$(BIN)/python src/train.py $(ARGS)

test: $(READY) ## the fast tests, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# with the extras that the fast tests do without: clusters, Optuna, a browser, trackers
$(VENV)/.ready-extras: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,dask,ray,optuna,browser,export,notebook,wandb,mlflow,trackio,slurm]'
	touch $@

test-slow: $(VENV)/.ready-extras ## the heavier tests, with all extras
	$(BIN)/python -m pytest -m slow -n auto --dist worksteal $(ARGS)

# PYTHONS: which; each has an environment of its own, .venv-3.12. ARGS: of pytest
test-pythons: ## the fast tests under every Python that is installed, on PATH or by pyenv
	@failed=; for v in $(PYTHONS); do \
	  python=; for found in "$$(command -v python$$v)" $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$v.*/bin/python; do \
	    if "$$found" -c '' 2> /dev/null; then python=$$found; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "Python $$v is not installed, so not tested"; continue; fi; \
	  echo "Python $$v: $$python"; \
	  $(MAKE) --no-print-directory test VENV=.venv-$$v PYTHON="$$python" || failed="$$failed $$v"; \
	done; [ -z "$$failed" ] || { echo "failed under Python$$failed"; exit 1; }

# ARGS: so many cases of each scenario rather than all
hostile: $(READY) ## type every hostile option, table, place and tampered directory; test-slow types some
	HOSTILE=all $(BIN)/python -m pytest -m slow -n auto tests/hostile $(ARGS)

crash: $(READY) ## end or fail every operation on files of six commands, kill their processes, go on, compare
	PYTHONPATH=src:tests $(BIN)/python -m crash $(ARGS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## speed next to plain PyTorch and plain Lightning
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

bench-gpu: $(READY) ## speed on a CUDA GPU, beside a CPU; eight minutes at most
	$(BIN)/python tests/benchmarks/gpu.py $(ARGS)

# RUNS: a multirun, a run, or a directory of runs; PORT: where to listen; ARGS: choose=all, most=100
dashboard: $(READY) ## TensorBoard on localhost over the latest sweep's best runs
	$(BIN)/python src/dashboard.py $(if $(RUNS),'run=$(RUNS)') $(if $(PORT),port=$(PORT)) $(ARGS)

# README's pictures: experiment and which picture of its report
PICTURES := optimizers_on_a_valley/landscape gd_vs_sgd_vs_minibatch/surface momentum_escapes_local_minimum/landscape

# and the sweeps whose reports it shows
DIGITS := optimizer=sgd,momentum,adam model.hidden=[32] data.batch_size=16,64,256,full \
  optimizer.lr=1e-3,3e-3,1e-2,3e-2,1e-1,3e-1,1,3,10 seed=0,1,2 stop.loss=0.1 stop.epochs=200
DIABETES := model=linear data=diabetes optimizer=sgd,momentum,adagrad,adam data.batch_size=10,50,full \
  optimizer.lr=1e-3,3e-3,1e-2,3e-2,1e-1,3e-1,1 seed=0,1,2,3,4 stop.epochs=30

pictures: $(READY) ## draw the README's pictures again
	set -e; for it in $(PICTURES); do \
	  name=$${it%/*}; runs=outputs/pictures/$$(date +%s%N)/$$name; \
	  $(BIN)/python src/train.py experiment=$$name picture=false hydra.sweep.dir=$$runs; \
	  $(BIN)/python src/report.py run=$$runs output=$$runs/report; \
	  cp $$runs/report/$${it#*/}.png .github/$$name.png; \
	done
	name=outputs/pictures/$$(date +%s%N); \
	  $(BIN)/python src/train.py hydra.run.dir=$$name && cp $$name/curves.png .github/curves.png
	set -e; runs=outputs/pictures/$$(date +%s%N); \
	  $(BIN)/python src/train.py -m $(DIGITS) hydra.sweep.dir=$$runs/digits; \
	  cp $$runs/digits/report/heatmap.png .github/digits_sweep.png; \
	  $(BIN)/python src/train.py -m $(DIABETES) hydra.sweep.dir=$$runs/diabetes; \
	  cp $$runs/diabetes/report/sensitivity.png .github/diabetes_sweep.png

notebooks: $(VENV)/.ready-extras ## execute notebooks/ again and keep what they show
	cd notebooks && ../$(BIN)/jupyter execute --inplace --kernel_name=python3 *.ipynb
	rm -rf notebooks/outputs

clean: ## remove caches and .venv; runs in outputs/ stay
	rm -rf $(VENV) .venv-3.* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
