# make demo    set up .venv, train on images, print a table, write demo.png
# make test    set up .venv-test, lint, test, and test the compiled rooms in the debug build
# make lint, make doc, make clean
#
# Needs Python >= 3.11 and a C compiler. PYTHON chooses the interpreter. Environments are
# renewed when a source file changed (by checksum) and left alone otherwise.

PYTHON ?= python3

SOURCES := pyproject.toml setup.py MANIFEST.in \
	$(sort $(wildcard sklearn_lsh/*.py sklearn_lsh/core/*.py sklearn_lsh/core/*.pyx \
	sklearn_lsh/core/*.pxd sklearn_lsh/core/simd/*.[ch]))
# Tests of the compiled rooms: run once more with bounds checks and assertions on.
DEBUG_TESTS := $(wildcard $(patsubst %,tests/test_%.py,\
	kernels rows tables cells hashing selection gradients engine relay order renewal \
	many_classes many_targets many_predictions by_feature whitening))
TEST := .venv-test/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint doc clean FORCE
.DELETE_ON_ERROR:

demo: .venv/installed
	.venv/bin/python benchmarks/demo.py

# Tests run from another folder, so that they, and every process they start, import what
# was installed and not the source tree.
test: lint build/debug/installed
	cd .venv-test && bin/pytest -c ../pyproject.toml ../tests
	cd .venv-test && bin/pytest -c ../pyproject.toml --doctest-modules --pyargs sklearn_lsh
ifneq ($(DEBUG_TESTS),)
	cd .venv-test && PYTHONPATH=$(CURDIR)/build/debug bin/pytest -c ../pyproject.toml \
		$(addprefix ../,$(DEBUG_TESTS))
endif

lint: .venv-test/installed
	$(TEST)/ruff check .
	PATH="$(CURDIR)/$(TEST):$$PATH" cython-lint sklearn_lsh  # calls pycodestyle
	! grep -nE '\[-[0-9]+\]' sklearn_lsh/core/*.pyx  # wraparound is off: undefined

doc: .venv-doc/installed
	cd .venv-doc && bin/python -m sphinx -W --keep-going -b html ../doc ../doc/_build/html

clean:
	rm -rf .venv .venv-test .venv-doc build doc/_build doc/api/generated
	rm -rf .pytest_cache .ruff_cache .hypothesis demo.png

# ---- environments --------------------------------------------------------------------

.venv/installed: EXTRAS := demo
.venv-test/installed: EXTRAS := test,lint
.venv-doc/installed: EXTRAS := doc
.venv/installed .venv-test/installed .venv-doc/installed: build/source/copied
	@echo "setting up $(@D): a minute or two"
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) "./build/source[$(EXTRAS)]"
	touch $@

build/debug/installed: build/debug-source/copied .venv-test/installed
	rm -rf $(@D)
	SKLEARN_LSH_DEBUG=1 $(TEST)/python $(PIP_INSTALL) --no-deps --target $(@D) \
		./build/debug-source
	cd .venv-test && PYTHONPATH=$(CURDIR)/$(@D) bin/python -c \
		'import sklearn_lsh as s; assert s.__file__.startswith("$(CURDIR)/$(@D)"), s'
	touch $@

# Each flavour is built from its own copy of the sources: nothing compiled in place, with
# other flags or from a file that is gone can leak into it.
build/source/copied build/debug-source/copied: build/checksums
	rm -rf $(@D) && mkdir -p $(@D)
	@tar -cf - $(SOURCES) README.md LICENSE CHANGELOG.md | tar -xf - -C $(@D)
	touch $@

build/checksums: FORCE
	@mkdir -p build
	@cksum $(SOURCES) >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
