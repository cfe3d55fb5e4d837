# Everything from a bare machine with Python 3.11 or 3.12: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV   := .venv
PIP    := $(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt
RUN    := PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python
BUILT  := $(addprefix model_repository/,$(addprefix tsfd_net/1/model.,onnx plan plan.json) \
	nuclei_postprocess/1/release.json)
# What is served; a command makes it anew when and only when its content has changed. What
# `make convert` was told to make otherwise is served until a plain `make convert`.
CHOSEN := build/chosen
CHOICE := $(strip $(foreach v,WEIGHTS INT8 TARGETS TENSORRT,$(if $(filter command,$(origin $v)),$v)))
READY  := $(if $(CHOICE),convert,$(if $(wildcard $(CHOSEN)),setup,convert))
WEIGHTS ?= weights/lite.npz
PRESET ?= lite
# A process that dies fails the run: xdist would replace it, and may wait for ever then.
# Groups of tests in the order of tests/conftest.py, long ones first.
WORKERS := -n 2 --dist loadgroup --no-loadscope-reorder --max-worker-restart=0
FAULTS  := $(addprefix tests/client/slides/test_,slide_faults.py many_slides.py)
OUT     ?= runs/$(PRESET)

.PHONY: help setup export convert serve demo test test-fast faults loadtest bench bench-peers bench-gpu check \
	train calibrate evaluate tune protocol lint dist clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## create .venv and the embedded server's environment
	@$(RUN) -m deploy.setup

$(VENV)/.ready: pyproject.toml client/pyproject.toml constraints.txt
	@echo "Installing packages into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@# Only a picture of stardist and the builder of TensorRT-RTX are needed, not what they depend on.
	@{ $(PIP) -e './client[slides,export,dask]' -e '.[lint,load,test,train]' && $(PIP) --no-deps \
		stardist tensorrt-rtx-cu12-bindings tensorrt-rtx-cu12-libs; } 2> $(VENV)/pip.log \
		|| { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

export: | $(VENV)/.ready  ## WEIGHTS -> build/saved_model
	@$(RUN) -m training.export --weights "$(WEIGHTS)" --out build/saved_model

convert: export | setup  ## SavedModel -> engines; INT8=images for INT8; TENSORRT: deploy/README.md
	@$(RUN) -m conversion $(if $(TARGETS),--targets $(TARGETS)) \
		$(if $(INT8),--int8 "$(INT8)") $(if $(TENSORRT),--tensorrt "$(TENSORRT)")
	@$(if $(CHOICE),touch,rm -f) $(CHOSEN)

serve: $(READY)  ## serve on this machine's CPU until Ctrl-C
	@$(RUN) -m deploy.serve

demo: $(READY)  ## segment a real image (IMAGE=path MPP=x for your own) and a known field
	@$(RUN) -m demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(MPP),--mpp $(MPP))

test: convert  ## all tests, with the real server
	@$(RUN) -m pytest $(WORKERS) \
		$(if $(CI),--cov --cov-report=term --cov-report=html:build/coverage) $(TESTS)

test-fast: | $(VENV)/.ready  ## the tests that need neither a server nor a converted network
	@$(RUN) -m pytest $(WORKERS) -m "not slow" $(TESTS)

faults: convert  ## kill clients, servers and workers at random moments, ten times over
	@for round in 1 2 3 4 5 6 7 8 9 10; do echo "Round $$round"; \
		$(RUN) -m pytest $(FAULTS) || exit 1; done

loadtest: $(READY)  ## Locust against the server, judged against the bare CPU runtime
	@$(RUN) -m loadtest $(LOADTEST)

bench: $(READY)  ## time post-processing, stitching, network and serving: build/bench
	@$(RUN) -m bench.postprocess
	@$(RUN) -m bench.stitching
	@$(RUN) -m bench.replay
	@$(RUN) -m bench.network
	@$(RUN) -m bench.serving
	@$(RUN) -m bench.slides

bench-peers: | $(VENV)/.ready  ## time other nucleus networks beside both presets: build/bench
	@$(RUN) -m bench.peers

bench-gpu: | $(VENV)/.ready  ## time a Triton server on a GPU host: URL=host:8001
	@$(RUN) -m bench.gpu --url $(or $(URL),localhost:8001)

check: | $(VENV)/.ready  ## what DATA holds, and what is broken in it
	@$(RUN) -m training.check "$(or $(DATA),$(error Name the data: make check DATA=folder))"

train: | $(VENV)/.ready  ## DATA=folder PRESET=lite|full|paper EPOCHS=n OUT=runs/lite RESUME=1
	@$(RUN) -m training.train --data "$(or $(DATA),$(error Name the data: make train DATA=folder))" \
		--recipe $(PRESET) --out "$(OUT)" $(if $(EPOCHS),--epochs $(EPOCHS)) \
		$(if $(RESUME),--resume)

evaluate: | $(VENV)/.ready  ## score WEIGHTS on DATA=folder SPLIT=test SET=x HELD=reporting, or FOLD=3
	@$(RUN) -m training.evaluate \
		$(if $(FOLD),--pannuke,--manifest) \
		"$(or $(DATA),$(error Name the data: make evaluate DATA=folder))" \
		$(if $(FOLD),--fold $(FOLD)) $(if $(SPLIT),--split $(SPLIT)) $(if $(SET),--set $(SET)) \
		$(if $(HELD),--held-back $(HELD)) \
		$(if $(SERVER),--server $(SERVER),--weights "$(WEIGHTS)")

calibrate: | $(VENV)/.ready  ## fit the classes of WEIGHTS to nuclei of DATA held back to choose by; WRITE=1
	@$(RUN) -m training.calibrate --weights "$(WEIGHTS)" $(if $(WRITE),--write) \
		--manifest "$(or $(DATA),$(error Name the data: make calibrate DATA=folder))"

tune: | $(VENV)/.ready  ## try thresholds on what DATA holds back to choose by; WRITE=1 keeps the best
	@$(RUN) -m training.tune --weights "$(WEIGHTS)" $(if $(WRITE),--write) \
		--manifest "$(or $(DATA),$(error Name the data: make tune DATA=folder))"

protocol: | $(VENV)/.ready  ## PROTOCOL=rotation|random on PanNuke in DATA, by the recipe PRESET
	@$(RUN) -m training.protocol $(or $(PROTOCOL),rotation) \
		--pannuke "$(or $(DATA),$(error Name the data: make protocol DATA=PanNuke))" \
		--recipe $(PRESET) --out "runs/$(or $(PROTOCOL),rotation)-$(PRESET)"

lint: | $(VENV)/.ready  ## ruff, types of the client, who may import whom
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache

dist: | $(VENV)/.ready  ## the client as wheel and source archive: build/dist
	@$(VENV)/bin/python -m build --outdir build/dist client

clean:  ## remove what was built (not .venv)
	rm -rf build $(BUILT)
