# Everything a newcomer or CI needs: `make quickstart` and `make test` create the environment themselves.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart wheel quick test test-sweeps test-slow test-lowest test-pythons postgresql chromium faketime namespaces chaos chaos-cluster test-services test-slurm simulate bench gpu-check check lint types layers format schema pictures site clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

quickstart: .venv/package.stamp  ## install, run a small sweep on the embedded digits, export the best model
	$(BIN)/sweeper run search_spaces/quickstart.yaml
	$(BIN)/sweeper best quickstart --export
	@echo "next: $(BIN)/mlflow ui (curves and confusion matrices), search_spaces/ (your own data), README.md"

wheel: .venv/dev.stamp  ## build the wheel into dist/, and use one in an empty environment outside the checkout; takes 5 minutes
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@rm -rf build
	SWEEPER_EMPTY_ENVIRONMENT=1 $(BIN)/pytest -m slow tests/functional/test_wheel.py

test: .venv/dev.stamp  ## run the tests but those that train whole studies, in two processes
	$(BIN)/pytest -n 2 --dist loadfile --max-worker-restart 0

test-sweeps: .venv/dev.stamp  ## run the tests that train whole studies; takes twice as long
	$(BIN)/pytest -m 'sweeps and not slow and not gpu' -n 2 --dist loadfile --max-worker-restart 0

test-slow: .venv/dev.stamp .venv/site.stamp postgresql chromium faketime namespaces  ## run the tests that take long
	$(BIN)/pytest -m slow

# Tests that need no other program.
PORTABLE := $(addprefix tests/,config data search modeling training export tracking commands library functional/test_main_path.py)

test-lowest: .venv-lowest/stamp  ## run what needs no other program with the lowest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile -W default $(PORTABLE)

test-pythons: test-python-3.12 test-python-3.13  ## run the tests (TESTS=) with the other Pythons of this machine, each in an environment of its own

test-python-%:
	@python=$$(ls $$HOME/.pyenv/versions/$*.*/bin/python$* 2>/dev/null | tail -1); \
	python=$${python:-$$(command -v python$*)}; \
	if [ -z "$$python" ]; then echo "Python $* is not on this machine"; exit 0; fi; \
	$(MAKE) .venv-$*/stamp OTHER_PYTHON=$$python && \
		.venv-$*/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(TESTS)

postgresql: .venv/dev.stamp
	@$(INSTALL) --editable '.[dev,postgres]'
	@command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || \
		apt-get install --yes postgresql || echo "no PostgreSQL: its tests are skipped"

test-services: .venv/services.stamp postgresql  ## run sweeps on PostgreSQL, an MLflow server with log-in and TLS, and an object store
	@command -v openssl >/dev/null || apt-get install --yes openssl || echo "no openssl: the tests are skipped"
	$(BIN)/pytest -m slow tests/services

test-slurm: .venv/ray.stamp  ## run the scripts of docs/cluster.md on a SLURM of two nodes on this machine; as root
	@command -v slurmctld >/dev/null && command -v munged >/dev/null || \
		apt-get install --yes --no-install-recommends slurm-wlm munge || echo "no SLURM: its tests are skipped"
	$(BIN)/pytest -m slow tests/slurm

chromium:  ## install the browser that the slow tests open reports in
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		apt-get install --yes chromium || echo "no Chromium: its tests are skipped"

faketime:  ## install what the slow tests set a clock with
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || \
		apt-get install --yes faketime || echo "no libfaketime: its tests are skipped"

namespaces:  ## install what cuts the nodes of a cluster off from one another
	@command -v ip >/dev/null && command -v iptables >/dev/null || \
		apt-get install --yes --no-install-recommends iproute2 iptables || echo "no ip or iptables: tests of partitions are skipped"

chaos: .venv/dev.stamp  ## kill sweeps at random moments, 40 times (CHAOS_KILLS=, CHAOS_SEED=); takes half an hour
	$(BIN)/pytest -m slow -s tests/functional/test_crashes.py

chaos-cluster: .venv/ray.stamp namespaces  ## break a Ray cluster of several nodes on this machine 44 times; takes half an hour
	$(BIN)/pytest -m slow -s tests/cluster tests/conformance/test_engines.py

simulate: export SIMULATE_SEEDS ?= 10000
simulate: .venv/dev.stamp  ## run 10,000 studies in which everything goes wrong (SIMULATE_SEEDS=, SIMULATE_SEED= for one); takes half an hour
	$(BIN)/pytest -n 2 tests/simulation

bench: .venv/bench.stamp  ## measure beside the ceiling and what people write today (DATA= class folders of 64-pixel JPEGs, SMALL= of 32, WEIGHTS= a file of tf_efficientnet_lite0); takes hours
	$(foreach name,ceiling batches decode step_profile,$(BIN)/python -m benchmarks.$(name) $(if $(DATA),--data $(DATA)) &&) true
	$(BIN)/python -m benchmarks.sweep $(if $(SMALL),--data $(SMALL))
	$(if $(WEIGHTS),$(BIN)/python -m benchmarks.frozen_backbone --data $(DATA) --weights $(WEIGHTS))
	$(foreach name,convolution compiled trial_cost packing fused whole_networks growth many_trials simulated bounded_history dead_server,$(BIN)/python -m benchmarks.$(name) &&) true
	$(BIN)/python -m benchmarks.page

gpu-check:  ## show on a GPU what only a GPU can show, in 8 minutes, without network (IMAGES= CIFAR-10, OUT= a folder, PARTS=)
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu_check $(if $(IMAGES),--images $(IMAGES)) \
		$(if $(OUT),--out $(OUT)) $(if $(PARTS),--only $(PARTS)) $(if $(FACTOR),--factor $(FACTOR))

check: lint types layers test  ## what to run before a commit; CI runs test-sweeps and test-lowest too

quick: lint types layers  ## lint, types, layers, and the unit tests of what differs from the last commit
	@tests=$$($(BIN)/python -m tests.of_changes); \
	if [ -n "$$tests" ]; then $(BIN)/pytest -m 'not slow and not gpu' -n 2 --dist loadfile $$tests; else echo "no unit test differs"; fi

lint: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/dev.stamp  ## check types, for Linux, macOS and Windows
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin sweeper
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 sweeper

layers: .venv/dev.stamp
	$(BIN)/lint-imports

format: .venv/dev.stamp  ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: .venv/package.stamp  ## write what docs/ holds of the code: references of search spaces, commands and library, the layers
	$(BIN)/sweeper schema > docs/search_space.schema.json
	$(BIN)/sweeper schema --markdown > docs/search_space.md
	$(BIN)/python docs/write_commands.py
	$(BIN)/python docs/write_library.py
	$(BIN)/python docs/draw_layers.py

pictures: .venv/site.stamp chromium  ## draw the pictures of docs/: a study in a terminal and its report; takes two minutes
	$(BIN)/python docs/draw_pictures.py

site: .venv/site.stamp  ## build the documentation site into site/; a link that leads nowhere fails it
	$(BIN)/python docs/gather_site.py
	$(BIN)/zensical build --strict --clean

clean:  ## remove the environment and the caches of the tools
	rm -rf .venv .venv-lowest .venv-3.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/package.stamp: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing (about 4 minutes the first time)"
	$(INSTALL) --editable .
	@touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing (about 4 minutes the first time)"
	$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/package.stamp

.venv-lowest/stamp: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --output-file .venv-lowest/versions.txt pyproject.toml
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --requirement .venv-lowest/versions.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --no-deps --editable .
	@touch $@

.venv-3.%/stamp: pyproject.toml constraints.txt
	@echo "installing for Python 3.$* (about 4 minutes the first time)"
	$(OTHER_PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/ray.stamp: .venv/dev.stamp
	@$(INSTALL) --editable '.[dev,ray]'
	@touch $@

.venv/services.stamp: .venv/dev.stamp
	@$(INSTALL) --editable '.[dev,postgres,services,ray,s3]'
	@$(PYTHON) -m venv .venv/moto  # of its own: it needs another graphql-core than MLflow
	@.venv/moto/bin/python -m pip install --quiet --disable-pip-version-check 'moto[server]==5.2.5'
	@touch $@

.venv/site.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev,site]'
	@touch $@

.venv/bench.stamp: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing what sweeper is compared with"
	$(INSTALL) --editable '.[bench]'
	@touch $@
