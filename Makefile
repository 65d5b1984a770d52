# `make demo` shows what it does, `make test` proves it; both set up all that they need in .venv.
.DEFAULT_GOAL := help
.PHONY: help demo unit test check slow old-sqlite bench faults soak verify-slurm verify-auditor verify-htcondor nightly package clean
BIN := .venv/bin

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

.venv/demo: pyproject.toml .ci/environment
	@bash .ci/environment .venv server
	@touch $@

.venv/test: pyproject.toml .ci/environment
	@bash .ci/environment .venv server,test,check
	@touch .venv/demo $@

.venv/slow: pyproject.toml .ci/environment .ci/packages
	@bash .ci/environment .venv server,test,check,peers
	@bash .ci/packages
	@touch .venv/demo .venv/test $@

demo: .venv/demo  ## real HTCondor and Slurm accounting into an Auditor, here and now
	@$(BIN)/python tests/demo/demo.py

test: .venv/test  ## the fast tests
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

unit: .venv/test  ## what one process can show, in under a minute
	$(BIN)/python -m pytest -q --one-process --ignore tests/operation

check: .venv/test  ## lint, types, and the built wheel without the checkout
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	bash .ci/check-wheel $(BIN)/python

slow: .venv/slow  ## the slow tests, with real HTCondor and Slurm, a browser and the public peers where they can be had
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -m "(slow or slurm or condor) and not nightly" -n 2 --dist loadfile

old-sqlite: .venv/test  ## the tests of outbox and embedded Auditor on SQLite 3.26 and 3.34, as of EL 8 and 9
	@bash .ci/old-sqlite $(BIN)/python tests/outbox tests/embedded

bench: .venv/test  ## measure: outbox, sender, both plugins, a fleet
	@for benchmark in tests/benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

verify-slurm: .venv/test  ## the sums of a real Slurm beside those of the Auditor; RELEASE=trixie: of Debian's
	@$(BIN)/python -m tests.slurm.verify $(if $(RELEASE),--release $(RELEASE))

verify-htcondor: .venv/test  ## the sums of a real HTCondor pool beside those of the Auditor; RELEASE=sid: of Debian's
	@$(BIN)/python -m tests.htcondor.verify $(if $(RELEASE),--release $(RELEASE))

verify-auditor: .venv/test  ## conversation, faults, roles and kills on the public Auditor and its PostgreSQL
	@$(BIN)/python -m tests.real_auditor.verify

faults: .venv/test  ## play every fault in front of an Auditor, and count what was lost
	@$(BIN)/python tests/delivery/faults.py

soak: .venv/test  ## 100,000 jobs while daemon and Auditor are killed at random
	@$(BIN)/python tests/delivery/soak.py

nightly: .venv/slow  ## what takes long: every release, upgrades of the system, soak, fuzzing for minutes; one table at the end
	@bash .ci/nightly $(BIN)/python

.venv/package: pyproject.toml .ci/environment
	@bash .ci/environment .venv server
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	@touch .venv/demo $@

package: .venv/package  ## dist/: one deb, RPM and archive an architecture, for every Python; no network at installation
	@bash .ci/package $(BIN)/python

repository: package  ## FOLDER=… KEY=…: dist/ as a signed tree for apt and dnf, for a web server
	@bash .ci/repository "$(FOLDER)" "$(KEY)"

clean:  ## remove everything that was made
	rm -rf .venv .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
