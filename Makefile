# Everything from a bare machine with Python 3.11 or 3.12: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV   := .venv
RUN    := PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python
ENGINE := model_repository/tsfd_net/1/model.onnx
WEIGHTS ?= weights/lite.npz
PRESET ?= lite

.PHONY: help setup export convert serve demo test loadtest train lint clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## create .venv and the embedded server's environment
	@$(RUN) -m deploy.setup

$(VENV)/.ready: pyproject.toml client/pyproject.toml constraints.txt
	@echo "Installing packages into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e ./client[parquet] -e '.[load,test]'
	@# Only a picture of stardist and the builder of TensorRT-RTX are needed, not what they depend on.
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
		stardist tensorrt-rtx-cu12-bindings tensorrt-rtx-cu12-libs
	@touch $@

build/saved_model/saved_model.pb: $(WEIGHTS) $(wildcard training/*.py) | $(VENV)/.ready
	@$(RUN) -m training.export --weights $(WEIGHTS) --out build/saved_model

export: build/saved_model/saved_model.pb  ## weights -> build/saved_model

convert: build/saved_model/saved_model.pb | setup  ## SavedModel -> engines in model_repository
	@$(RUN) -m conversion $(if $(TARGETS),--targets $(TARGETS))

$(ENGINE): build/saved_model/saved_model.pb $(wildcard conversion/*.py) | setup
	@$(RUN) -m conversion $(if $(TARGETS),--targets $(TARGETS))

serve: $(ENGINE) | setup  ## serve on this machine's CPU until Ctrl-C
	@$(RUN) -m deploy.serve

demo: $(ENGINE) | setup  ## segment a real image (IMAGE=path MPP=x for your own) and a known field
	@$(RUN) -m demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(MPP),--mpp $(MPP))

test: $(ENGINE) | setup  ## all tests, with the real server
	@$(RUN) -m pytest $(TESTS)

loadtest: $(ENGINE) | setup  ## Locust against the server, judged against the bare CPU runtime
	@$(RUN) -m loadtest $(LOADTEST)

train: | $(VENV)/.ready  ## DATA=folder with a manifest.json, PRESET=lite|paper, MINUTES=60
	@$(if $(DATA),,$(error Name the data: make train DATA=folder))
	@$(RUN) -m training.train --data "$(DATA)" --preset $(PRESET) --out runs/$(PRESET) \
		--minutes $(or $(MINUTES),60)

lint: | $(VENV)/.ready  ## ruff
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

clean:  ## remove what was built (not .venv)
	rm -rf build $(ENGINE)
