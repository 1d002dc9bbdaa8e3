# make demo   sets everything up and runs the real daemon over generated documents
# make test   sets everything up and runs the tests
# make check  ruff, mypy strict, import-linter, the unit's security score
# make bench  runs every bench with its defaults (needs real data: see bench/README.md; docs/ names the options)

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
# A GPU is used where the driver's tool finds one; EXTRA=cpu or EXTRA=gpu decides otherwise.
EXTRA  ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
# Processes that run tests; each holds models and starts services of its own.
JOBS   ?= 2
PREFIX ?= /opt/ocrd
UNIT   ?= systemd/ocrd.service
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup weights demo test check lint types imports unit-score format bench install uninstall clean lock

setup: $(VENV)/.installed weights

$(VENV)/.installed: pyproject.toml requirements.lock
	@echo "==> making $(VENV) ($(EXTRA)); the first time takes some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet torch==2.13.0
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[$(EXTRA),dev]'
	@touch $@

weights: $(VENV)/.installed
	@$(BIN)/python -m models.weights

demo: setup
	@$(BIN)/python bench/demo.py

test: setup
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint types imports unit-score

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports

# Exposure x 10: at most 0.5 without a GPU, 0.8 with it. Machines without systemd can't score the unit and say so.
unit-score:
	@command -v systemd-analyze >/dev/null || { echo "systemd-analyze is not here: the unit was not scored"; exit 0; }; \
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cp $(UNIT) "$$dir/ocrd.service"; \
	score() { found=$$(systemd-analyze security --offline=true --no-pager --threshold=$$1 "$$dir/ocrd.service"); \
	  code=$$?; echo "$$found" | tail -1; test $$code = 0 || { echo "exposure is over $$1 / 10" >&2; exit 1; }; }; \
	score 5; mkdir "$$dir/ocrd.service.d"; cp systemd/gpu.conf "$$dir/ocrd.service.d"; echo "with systemd/gpu.conf:"; score 8

lock: setup
	@{ echo "# Every version that the tests pass with, as pip constraints. Anew: make lock"; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' | grep -v '@ file' | sort -f; } > requirements.lock

format: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: setup
	@for script in $$(grep -l __main__ bench/*.py | grep -v step_jax); do echo "==> $$script"; $(BIN)/python $$script || exit 1; done

install:
	@test "$$(id -u)" = 0 || { echo "make install writes to $(PREFIX) and /etc: run it as root" >&2; exit 1; }
	@case "$$(readlink -f "$$(command -v $(PYTHON))")" in /root/*|/home/*) \
	  echo "$(PYTHON) lies in a home folder, which the service cannot see: name another with PYTHON=" >&2; exit 1;; esac
	$(PYTHON) -m venv $(PREFIX)
	$(PREFIX)/bin/python -m pip install --quiet torch==2.13.0
	$(PREFIX)/bin/python -m pip install --quiet --constraint requirements.lock '.[$(EXTRA)]'
	install -D -m 644 systemd/ocrd.service /etc/systemd/system/ocrd.service
	@if [ "$(EXTRA)" = gpu ]; then install -D -m 644 systemd/gpu.conf /etc/systemd/system/ocrd.service.d/gpu.conf; fi
	install -D -m 644 systemd/ocrd.sysusers.conf /etc/sysusers.d/ocrd.conf
	install -D -m 644 systemd/ocrd.tmpfiles.conf /etc/tmpfiles.d/ocrd.conf
	systemd-sysusers /etc/sysusers.d/ocrd.conf
	systemd-tmpfiles --create /etc/tmpfiles.d/ocrd.conf
	ln -sf $(PREFIX)/bin/ocrd /usr/local/bin/ocrd
	OCRD_WEIGHTS=/var/cache/ocrd/weights $(PREFIX)/bin/python -m models.weights
	runuser -u ocrd -- $(PREFIX)/bin/ocrd init --weights /var/cache/ocrd/weights
	$(PREFIX)/bin/ocrd completion bash > /etc/bash_completion.d/ocrd
	@if [ -d /run/systemd/system ]; then systemctl daemon-reload; echo "Start it: systemctl enable --now ocrd"; \
	else echo "Installed; systemd does not run here."; fi

uninstall:
	-systemctl disable --now ocrd
	rm -rf $(PREFIX) /etc/systemd/system/ocrd.service /etc/systemd/system/ocrd.service.d/gpu.conf /etc/sysusers.d/ocrd.conf /etc/tmpfiles.d/ocrd.conf
	rm -f /usr/local/bin/ocrd /etc/bash_completion.d/ocrd
	@echo "The documents in /var/lib/ocrd are left alone."

clean:
	rm -rf $(VENV) .demo build *.egg-info .mypy_cache .ruff_cache .import_linter_cache
