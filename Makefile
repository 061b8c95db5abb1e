# `make demo` shows it; `make test` runs everything that CI runs.
# PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo install lint types contracts test test-lowest test-browser chromium faults pip-audit wheel docs bench format clean

help:
	@echo "make demo          set up SQLite, make an administrator, grant, list, verify"
	@echo "make test          format, lint, types, import contracts, and every test"
	@echo "make test-lowest   a part of the tests, on the lowest versions that opsapp runs with"
	@echo "make test-browser  what people do at the pages, in a real Chromium"
	@echo "make faults        kills, failing calls, races, outages, hostile input: docs/reliability.md"
	@echo "make pip-audit     known vulnerabilities of what constraints.txt pins"
	@echo "make wheel         the wheel, in dist/"
	@echo "make docs          the generated pages: docs/cli.md, docs/settings.md, docs/api.md, the pictures"
	@echo "make bench         the benchmarks of docs/performance.md"
	@echo "make format        format the code"
	@echo "make clean         remove the virtual environment and what was generated"

# The bytecode is compiled here, because a command without it starts three times slower.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "opsapp needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --group dev --editable '.[all]'
	rm -rf opsapp.egg-info  # It would be read before what is installed, also when it is out of date.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q $(VENV)/lib opsapp commands examples migrations || true
	touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	@bin=$(abspath $(BIN)) sh examples/demo.sh

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

contracts: $(INSTALLED)
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

test: lint types contracts
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The part has all that differs between versions: commands, output, migrations, accounts, the audit.
# rich before 14.3 makes some columns a space wider, so two tests of exact widths fail there. click
# before 8.2 leaves the context of --help open, which the next test of the process would meet.
LOWEST := .venv-lowest/bin
.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/python || $(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(LOWEST)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints-lowest.txt --group lowest --editable '.[all]'
	touch $@

test-lowest: .venv-lowest/.installed
	$(LOWEST)/python -m pytest -n $(WORKERS) --dist worksteal -k "(sqlite or not postgresql) and not another_encoding" \
	  tests/accounts/test_users_list.py tests/accounts/test_roles.py tests/audit \
	  tests/cli/test_output.py tests/database/test_db.py tests/jobs/test_run.py \
	  tests/ops/test_attached.py tests/ops/observer \
	  --deselect 'tests/cli/test_output.py::test_table_is_never_cut[62]' \
	  --deselect 'tests/cli/test_output.py::test_terminal_gets_a_table_and_a_pipe_gets_tabs[sqlite]' \
	  --deselect 'tests/ops/test_attached.py::test_application_built_on_opsapp_has_the_commands_without_ops[sqlite]'

# Where there is no browser, `make test` skips these tests; here that is an error.
test-browser: chromium $(INSTALLED)
	$(BIN)/python -m pytest -n 0 tests/web/test_browser.py

chromium:
	@for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; done; \
	  { echo "There is no Chromium; on Debian: apt-get install chromium" >&2; exit 1; }

# PART is how much of the long form runs: 1 takes hours. The page is written from the counts.
PART ?= 1
TALLY := .faults.jsonl
faults: $(INSTALLED)
	rm -f $(TALLY)
	OPSAPP_FAULTS=$(PART) OPSAPP_FAULTS_TALLY=$(abspath $(TALLY)) \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -o faulthandler_timeout=0 tests/faults
	OPSAPP_FAULTS=$(PART) $(BIN)/python -m tests.faults.page $(TALLY)

# Its data is in the network: where that cannot be reached, it says so and passes.
PIP_AUDIT := .venv-pip-audit/bin
.venv-pip-audit/.installed:
	$(PYTHON) -m venv .venv-pip-audit
	$(PIP_AUDIT)/python -m pip install --quiet --disable-pip-version-check pip-audit
	touch $@

pip-audit: .venv-pip-audit/.installed
	@$(PIP_AUDIT)/pip-audit --disable-pip --no-deps --progress-spinner off -r constraints.txt \
	  >.venv-pip-audit/log 2>&1; code=$$?; \
	if grep -qE "could not be audited|ConnectionError|ServiceError" .venv-pip-audit/log; \
	then echo "pip-audit is skipped: its data of some packages cannot be reached"; \
	else cat .venv-pip-audit/log; exit $$code; fi

# What the build leaves beside the sources would be found before what is installed.
wheel: $(INSTALLED)
	$(BIN)/python -m build --no-isolation --outdir dist .
	rm -rf build opsapp.egg-info

docs: $(INSTALLED)
	$(BIN)/python docs/make.py

bench: $(INSTALLED)
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.million
	$(BIN)/python -m bench.bulk
	$(BIN)/python -m bench.audit
	$(BIN)/python -m bench.web
	$(BIN)/python -m bench.shell
	$(BIN)/python -m bench.jobs
	$(BIN)/python -m bench.profiling
	$(BIN)/python -m bench.attached
	$(BIN)/python -m bench.transfer
	$(BIN)/python -m bench.attaching

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-lowest .venv-pip-audit build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
