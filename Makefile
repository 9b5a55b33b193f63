# The two commands a newcomer needs are `make demo` and `make test`; everything else is for those who change the code.
NODES ?= 2
LANES ?= 4
PY := .venv/bin/python
VENV := .venv/.stamp

.PHONY: help demo conformance down deps check lint soak format test bench requirements install.yaml clean

help:  ## list the targets
	@grep -E '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV): requirements/dev.txt pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$(python3 --version)"; exit 1; }
	@python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq python3-venv
	python3 -m venv --clear .venv
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)  ## a real Kubernetes on this machine whose only network is this project; IP_FAMILY=ipv4, ipv6 or dual
	$(PY) -m sandbox demo --nodes $(NODES)

conformance: $(VENV)  ## Kubernetes' own cases for Services and DNS, on the sandbox; GROUP=conformance, FOCUS=regex
	$(PY) -m sandbox conformance --nodes $(NODES) $(if $(GROUP),--group $(GROUP)) $(if $(FOCUS),--focus '$(FOCUS)') $(ARGS)

down: $(VENV)  ## remove the sandbox: no process, namespace, mount or link stays
	$(PY) -m sandbox down

check: lint  ## format, lint, types, layers, unit, property and golden tests (under two minutes)
	KUBE_OVN_SOAK_STEPS=5000 $(PY) -m pytest tests/unit tests/properties tests/golden

lint: $(VENV)  ## format, lint, types, layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	PYTHONPATH=src .venv/bin/lint-imports --no-cache

soak: $(VENV)  ## a million steps of the address state machine with crashes, 20,000 histories (CI: a hundred thousand, 300)
	KUBE_OVN_SOAK_STEPS=1000000 KUBE_OVN_SOAK_HISTORIES=20000 $(PY) -m pytest tests/properties/test_crashes.py tests/properties/test_histories.py

format: $(VENV)  ## rewrite the sources in the project's format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

test: deps lint  ## everything: lint, all tests side by side (tests/lanes.py), the ten slowest; one summary line at the end
	$(PY) -m pytest --lanes $(LANES) --durations=10

deps: $(VENV)
	@$(PY) -m sandbox deps

bench: $(VENV)  ## every number this project quotes, as JSON, beside its floor or anchor
	$(PY) -m bench

install.yaml: $(VENV)  ## the manifest users apply, rendered from the chart
	@test -n "$(VALUES)" || { echo "Say which values: make install.yaml VALUES=my-values.yaml (see charts/kube-ovn/values.yaml; image.repository and ovn.centralAddress are required)"; exit 1; }
	$(PY) -m images manifest --values "$(VALUES)" > $@

requirements: $(VENV)  ## pin the dependencies anew
	for f in runtime dev; do .venv/bin/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt; done

clean: down
	rm -rf .venv dist
