# Everything runs in the book's own environment, .venv; stamps in it say what is installed.
PYTHON ?= python3
TORCH ?= 2.13.0
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help book serve test test-own test-second nightly gpu lab check notebooks constraints clean
help:
	@echo "make book         run every chapter that changed, build the site into _build/html"
	@echo "make serve        show the built site at http://127.0.0.1:8000"
	@echo "make test         all tests: package, chapters' outputs, pairs, site in a browser;"
	@echo "                  what computes is tested once more in another arithmetic"
	@echo "make nightly      the properties on fresh examples"
	@echo "make gpu          on a machine with a GPU: tests, speed and long runs, 9 minutes"
	@echo "make lab          JupyterLab, where a chapter's text and notebook stay in step"
	@echo "make check        lint, and compare each chapter's text with its notebook"
	@echo "make notebooks    run changed chapters and store their outputs in chapters/"
	@echo "make constraints  choose the newest versions of every package and pin them"
	@echo "make clean        remove the built site, all runs and their checkpoints"

book: .venv/book
	$(BIN)/ibbook book

serve: .venv/book
	$(BIN)/ibbook serve

notebooks: .venv/book
	$(BIN)/ibbook notebooks

lab: .venv/lab
	$(BIN)/jupyter lab

# Every cell of every chapter, what takes longest first, the tests, and the package's examples:
# once as this machine counts, and once more, without the tests of what makes a book of it, as another
# processor might. Two workers share the files, with one thread each: arrays of tests are small.
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=1200 --nbval-sanitize-with=tests/nbval.ini
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
NOTEBOOKS := $(sort $(wildcard chapters/*.ipynb))
LONGEST := $(filter %08-time-varying-bottlenecks.ipynb %07-lambda-beta-vae.ipynb %06-corex.ipynb \
  %05-beta-vae.ipynb %appendix-axes.ipynb %04-vib.ipynb,$(NOTEBOOKS))
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) $(NBVAL) --doctest-modules \
  --doctest-glob=README.md --ignore-glob='tests/*.ipynb' \
  $(FIRST) $(LONGEST) $(filter-out $(LONGEST),$(NOTEBOOKS)) tests ibbook README.md

test: test-own test-second

test-own: FIRST := tests/book/test_browser.py
test-own: .venv/test
	$(PYTEST)

test-second: .venv/test
	env $$(cat tests/second_arithmetic.env) $(PYTEST) --ignore=tests/book --ignore=ibbook/book \
	  --ignore=tests/test_gpu_dry_run.py

# Properties on examples that nobody has tried yet, and on many more of them.
nightly: .venv/test
	$(BIN)/python -m pytest --hypothesis-profile=nightly tests --ignore=tests/book

# Not in .venv: a lent machine has its own Python, with the torch that knows its card.
gpu:
	$(PYTHON) -m tests.gpu

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ibbook check

clean:
	rm -rf _build

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "ibbook needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
	  "; try make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "Python cannot make environments here; on Debian: apt install python3-venv"; exit 1; }

# install,EXTRAS: the package, editable, with every dependency at its pinned version
define install
	@echo "Installing into .venv (minutes the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(1)'
	@touch $@
endef

.venv/book: pyproject.toml constraints.txt | .venv/bin/python
	$(call install)
.venv/lab: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,[lab])
.venv/test: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,[test])

# Chosen in a fresh environment; torch is named because its wheels decide what else is needed.
constraints:
	rm -rf _build/pins
	$(PYTHON) -m venv _build/pins
	_build/pins/bin/python -m pip install --quiet torch==$(TORCH) -e '.[lab,test]'
	_build/pins/bin/python -m pip freeze --exclude-editable \
	  | sed 's/+[^+]*$$//' | grep -v '^nvidia-\|^triton' | LC_ALL=C sort -f > constraints.txt
	rm -rf _build/pins
