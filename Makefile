# make colorize    colorizes the photos that ship with the project, into outputs/
# make test        runs the tests
# make app         serves a page to drop photos on
# make lint        checks the style of the code
# All set up .venv first, with the python3 of the system, 3.11 to 3.13, or with another one: make test PYTHON=python3.12

PYTHON ?= python3

.PHONY: app colorize lint test test-a-to-g test-h-to-z test-without-avx512

colorize: .venv/installed
	.venv/bin/python test.py data/samples --output outputs

# In two halves, since TensorFlow keeps some memory of each network that a test has built. With --jobs=2 they run at the
# same time.
test: test-a-to-g test-h-to-z

test-a-to-g: .venv/installed-all
	.venv/bin/python -m pytest tests/test_[a-g]*.py

test-h-to-z: .venv/installed-all
	.venv/bin/python -m pytest tests/test_[!a-g]*.py

# Without AVX-512 NumPy sorts and sums in another order, which must not change a result.
test-without-avx512: .venv/installed-all
	NPY_DISABLE_CPU_FEATURES="$$(.venv/bin/python -c 'from numpy._core._multiarray_umath import __cpu_dispatch__; \
	  print(*(name for name in __cpu_dispatch__ if "AVX512" in name or name == "X86_V4"))')" \
	  .venv/bin/python -m pytest tests/test_utils.py tests/test_metrics.py tests/test_networks.py tests/test_zhang.py

app: .venv/installed-app
	.venv/bin/python app.py

lint: .venv/installed-all
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	  'Python 3.11 to 3.13 is needed, for example: make test PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/installed-app: requirements-app.txt .venv/installed
	.venv/bin/python -m pip install --quiet -r $<
	touch $@

.venv/installed-all: $(patsubst %,requirements-%.txt,app archive data dev export formats) .venv/installed
	.venv/bin/python -m pip install --quiet $(foreach file,$(filter %.txt,$^),-r $(file))
	touch $@
