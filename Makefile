# `make demo` shows it; `make test test-other coverage test-lowest` is what CI runs.
# PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo install lint types contracts test test-other test-lowest test-browser chromium coverage mutants faults pip-audit wheel docs bench format clean

help:
	@echo "make demo          set up SQLite, make an administrator, grant, list, verify"
	@echo "make test          format, lint, types, import contracts, and the tests, most on one of both databases"
	@echo "make test-other    these on the other database; a real terminal and browser, and other tests that take long"
	@echo "make test-lowest   a part of the tests, on the lowest versions that opsapp runs with"
	@echo "make test-browser  what people do at the pages, in a real Chromium"
	@echo "make coverage      every branch of the unit of work, the locks and texts, by the tests of these"
	@echo "make mutants       mutation tests of the same files: tests/mutants/results.json"
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

# Which database a test has here is decided by its name. Those of the unit of work and the locks
# have both.
test: lint types contracts
	OPSAPP_TESTS_PART=one $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Flask-AppBuilder needs other versions than our tests, and would add its command to each `flask`.
APPBUILDER := .venv-appbuilder/bin
.venv-appbuilder/.installed: pyproject.toml constraints-appbuilder.txt
	test -x $(APPBUILDER)/python || $(PYTHON) -m venv .venv-appbuilder
	$(APPBUILDER)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(APPBUILDER)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints-appbuilder.txt flask-appbuilder --editable .
	rm -rf opsapp.egg-info
	touch $@

test-other: $(INSTALLED) .venv-appbuilder/.installed
	OPSAPP_TESTS_PART=other $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

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

# The tests are those of the mutants: in one process and on SQLite, so that it takes a minute.
SELECTION := import shlex, tomllib; tool = tomllib.load(open("pyproject.toml", "rb"))["tool"]; \
  print(shlex.join(tool["mutmut"]["pytest_add_cli_args_test_selection"]))
coverage: $(INSTALLED)
	$(BIN)/python -c '$(SELECTION)' | xargs $(BIN)/coverage run -m pytest -q -n 0
	$(BIN)/coverage report

# It takes half an hour, and changes only a copy, in mutants/.
mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group mutants
	rm -rf mutants
	$(BIN)/python -m tests.mutants

# `make test` skips these tests if there is no browser; here that is an error.
test-browser: chromium $(INSTALLED)
	$(BIN)/python -m pytest -n 0 tests/web/test_browser.py

chromium:
	@for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; done; \
	  { echo "There is no Chromium; on Debian: apt-get install chromium" >&2; exit 1; }

# PART is how much of the long form runs: 1 takes hours. MINUTES ends the trials of each test after its
# share of that time. TESTS are the files to run; with some of them the counts of the page stay.
# The page is written from the counts; that of a run that failed says so first.
PART ?= 1
MINUTES ?= 0
TESTS ?= tests/faults
TALLY := .faults.jsonl
faults: $(INSTALLED)
	$(if $(filter tests/faults,$(TESTS)),rm -f $(TALLY))
	export OPSAPP_FAULTS=$(PART) OPSAPP_FAULTS_MINUTES=$(MINUTES); \
	OPSAPP_FAULTS_TALLY=$(abspath $(TALLY)) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
	  -o faulthandler_timeout=0 $(TESTS); code=$$?; \
	$(BIN)/python -m tests.faults.page $(TALLY) $$code $(TESTS) && exit $$code

# The program and its data are in the network: where they cannot be had in a minute, it says so
# and passes.
PIP_AUDIT := .venv-pip-audit
INSTALL_PIP_AUDIT := $(PYTHON) -m venv $(PIP_AUDIT) && $(PIP_AUDIT)/bin/python -m pip install \
  --quiet --disable-pip-version-check --retries 0 pip-audit && touch $(PIP_AUDIT)/.installed
pip-audit:
	@mkdir -p $(PIP_AUDIT); timeout 55 sh -c 'set -e; test -e $(PIP_AUDIT)/.installed \
	  || { $(INSTALL_PIP_AUDIT); }; exec $(PIP_AUDIT)/bin/pip-audit --disable-pip --no-deps \
	  --progress-spinner off -r constraints.txt' >$(PIP_AUDIT)/log 2>&1; code=$$?; \
	if [ $$code = 124 ] || ! [ -e $(PIP_AUDIT)/.installed ] \
	  || grep -qE "could not be audited|ConnectionError|ServiceError" $(PIP_AUDIT)/log; \
	then echo "pip-audit is skipped: it or its data cannot be reached in a minute"; \
	else cat $(PIP_AUDIT)/log; exit $$code; fi

# The build's leftovers beside the sources would be found before what is installed.
wheel: $(INSTALLED)
	$(BIN)/python -m build --no-isolation --outdir dist .
	rm -rf build opsapp.egg-info

docs: $(INSTALLED)
	$(BIN)/python -m docs.make

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
	rm -rf $(VENV) .venv-appbuilder .venv-lowest .venv-pip-audit mutants .coverage build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
