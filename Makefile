# `make demo` shows it, `make test` proves it; both make .venv/ themselves.
.PHONY: demo test check conformance format lock bench docs clean help

help:            ## Say what there is.
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | sort

demo:            ## Install, fetch the default weights, serve, and run the first example.
	@scripts/venv
	@.venv/bin/milvane demo

test:            ## Make the environment, then run every check and every test.
	@scripts/venv dev
	@scripts/check
	@scripts/test

check:           ## Format, lint, types and layers only.
	@scripts/venv dev
	@scripts/check

conformance:     ## Try the heavy clients (1.2 GB, minutes) and write docs/conformance.md.
	@scripts/venv
	@scripts/conformance

format:          ## Rewrite the sources in the project's format.
	@.venv/bin/ruff format src tests benchmarks
	@.venv/bin/ruff check --fix src tests benchmarks

lock:            ## Compile requirements/*.txt anew (needs uv).
	@scripts/lock

bench:           ## Run the benchmarks and rewrite docs/benchmarks.md (minutes).
	@scripts/venv dev
	@.venv/bin/python -m benchmarks

docs:            ## Write the generated reference pages anew.
	@scripts/venv dev
	@.venv/bin/python scripts/docs

clean:           ## Remove the environment and caches; data and weights stay.
	rm -rf .venv .venv-heavy .venv-torch tests/heavy/node/node_modules .mypy_cache .ruff_cache .pytest_cache dist
