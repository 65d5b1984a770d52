# `make demo` shows what it does, `make test` proves it; both set up all that they need in .venv.
.DEFAULT_GOAL := help
.PHONY: help demo unit test check slow bench faults soak verify-slurm verify-htcondor package clean
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
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -m "slow or slurm or condor" -n 2 --dist loadfile

bench: .venv/test  ## measure: outbox, sender, both plugins, a fleet
	@for benchmark in tests/benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

verify-slurm: .venv/test  ## the sums of a real Slurm beside those of the Auditor; RELEASE=trixie: of Debian's
	@$(BIN)/python -m tests.slurm.verify $(if $(RELEASE),--release $(RELEASE))

verify-htcondor: .venv/test  ## the sums of a real HTCondor pool beside those of the Auditor; RELEASE=sid: of Debian's
	@$(BIN)/python -m tests.htcondor.verify $(if $(RELEASE),--release $(RELEASE))

faults: .venv/test  ## play every fault in front of an Auditor, and count what was lost
	@$(BIN)/python tests/delivery/faults.py

soak: .venv/test  ## 100,000 jobs while daemon and Auditor are killed at random
	@$(BIN)/python tests/delivery/soak.py

package: .venv/test  ## wheel, Debian package and archive, for nodes without a network
	@bash .ci/package $(BIN)/python

clean:  ## remove everything that was made
	rm -rf .venv .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
