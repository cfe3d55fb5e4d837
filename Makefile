# Everything from a bare machine with Python 3.11 or 3.12: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV   := .venv
RUN    := PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python
# Let Python keep compiled packages: compiling TensorFlow's takes ten seconds.
unexport PYTHONDONTWRITEBYTECODE
BUILT  := $(addprefix model_repository/,$(addprefix tsfd_net/1/,model.onnx model.plan \
	model.plan.json engine.onnx engine.parity.npz) nuclei_postprocess/1/release.json \
	*/config.pbtxt tsfd_net/configs/cpu.pbtxt)
# The served models are converted again only if their content has changed. Models made by `make
# convert` with options are served until the next plain `make convert`.
CHOSEN := build/chosen
CHOICE := $(strip $(foreach v,WEIGHTS INT8 TARGETS TENSORRT,$(if $(filter command,$(origin $v)),$v)))
READY  := $(if $(CHOICE),convert,$(if $(wildcard $(CHOSEN)),$(VENV)/.serve,convert))
# The larger network is the default when an engine is built for a GPU.
WEIGHTS ?= $(if $(TENSORRT),weights/paper.npz,weights/lite.npz)
RECIPE ?= lite
# The shipped weights are never written to unless they are named.
ONTO_NAMED = $(if $(filter file,$(origin WEIGHTS)),$(error Name the file to write to: make $@ WEIGHTS=file WRITE=1))
# Three workers for two cores, because tests often wait for servers to start, restart or time out.
# A worker that dies fails the run: xdist would replace it and might then wait forever.
# Groups of tests run in the order of tests/conftest.py, long ones first.
WORKERS := -n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart=0
FAULTS  := $(addprefix tests/client/slides/test_,slide_faults.py many_slides.py)
# A recipe may be your own file.
NAMED   := $(basename $(notdir $(RECIPE)))
OUT     ?= runs/$(NAMED)

# Long tests that `make faults` runs in addition to the faults.
LONG    := tests/serving/test_first_start.py tests/loadtest/test_gpu_check.py tests/loadtest/test_perf_analyzer.py

.PHONY: help setup triton kernels ready tested export convert serve demo adapt test test-fast faults loadtest soak bench \
	bench-peers bench-precision bench-gpu gpu-check perf-analyzer image image-test chart-test image-lint manifests release \
	release-test check train average calibrate evaluate evaluate-classes scores tune protocol lint dist sbom clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Targets after it are made in parallel; their commands must print whole lines.
TOGETHER := @$(MAKE) --no-print-directory --jobs=2

setup:  ## create .venv and the embedded server's environment
	+$(TOGETHER) triton $(VENV)/.serve

ready:
	@test -e $(VENV)/.serve || echo "The first time, everything is installed and converted: two to three minutes."
	+$(TOGETHER) triton $(READY) kernels BRIEF=1

tested: | $(VENV)/.made
	+$(TOGETHER) triton $(VENV)/.test
	@$(RUN) -m tests.repository

triton: | $(VENV)/.made
	@$(RUN) -m serving.environment

# Checking a conversion runs the post-processing; compile its kernels in the meantime.
kernels: $(VENV)/.serve
	@$(RUN) -c "import instances; instances.warm_up()"

$(VENV)/.made:
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt uv 2> $(VENV)/uv.log \
		|| echo "uv cannot be installed here ($(VENV)/uv.log): pip is used, which takes minutes longer."
	@touch $@

# Each command depends on the packages it needs: .serve for those that all need, others for an
# extra of pyproject.toml in addition.
$(VENV)/.serve: pyproject.toml client/pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing packages into $(VENV) (600 MB to download) ..."
	@$(RUN) -m serving.packages -c constraints.txt -e ./client -e .
	@# Of stardist only a picture is needed, of TensorRT-RTX only the builder; skip their dependencies.
	@$(RUN) -m serving.packages -c constraints.txt --no-deps \
		stardist tensorrt-rtx-cu12-bindings tensorrt-rtx-cu12-libs
	@touch $@

$(VENV)/.bench $(VENV)/.lint $(VENV)/.load $(VENV)/.test $(VENV)/.train: $(VENV)/.%: $(VENV)/.serve
	@echo "Installing packages for $* ..."
	@$(RUN) -m serving.packages -c constraints.txt -e ./client -e '.[$*]'
	@touch $@

# By pip, which knows of an index or a folder of one's own where PyTorch is smaller.
$(VENV)/.torch: $(VENV)/.train
	@echo "Installing PyTorch (2.7 GB to download where no smaller one is offered) ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@touch $@

export: $(VENV)/.serve  ## export WEIGHTS as build/saved_model
	@$(RUN) -m training.export --weights "$(WEIGHTS)" --out build/saved_model

convert: export  ## convert WEIGHTS into what is served; INT8=images; TENSORRT: deploy/README.md
	@$(RUN) -m conversion $(if $(BRIEF),--brief) $(if $(TARGETS),--targets $(TARGETS)) \
		$(if $(INT8),--int8 "$(INT8)") $(if $(TENSORRT),--tensorrt "$(TENSORRT)")
	@$(if $(CHOICE),touch,rm -f) $(CHOSEN)

serve: ready  ## serve on this machine's CPU until Ctrl-C
	@$(RUN) -m serving

demo: ready  ## segment an image (IMAGE=path MPP=x for your own) and a synthetic field
	@$(RUN) -m demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(MPP),--mpp $(MPP))

adapt: $(VENV)/.serve  ## learn classes from the marks on RESULTS and in ANNOTATIONS, by a running server; OUT=my-classes.npz
	@$(VENV)/bin/tsfd adapt $(or $(RESULTS),$(error Name the results: make adapt RESULTS=folder)) \
		$(foreach file,$(ANNOTATIONS),--annotations "$(file)") \
		$(if $(filter command,$(origin OUT)),--out "$(OUT)")

test: tested  ## all but the longest tests, with the real server
	@$(RUN) -m pytest $(WORKERS) -m "not long" \
		$(if $(CI),--cov --cov-report=term --cov-report=html:build/coverage) $(TESTS)

test-fast: $(VENV)/.test  ## the tests that need neither a server nor a conversion
	@$(RUN) -m pytest $(WORKERS) -m "not slow and not long" $(TESTS)

faults: ready tested  ## inject every fault, ten rounds for slides; writes docs/reliability.md
	@$(RUN) -m pytest tests/faults tests/deploy/test_monitoring.py --reliability docs/reliability.md
	@$(RUN) -m pytest -m long $(LONG)
	@for round in 1 2 3 4 5 6 7 8 9 10; do echo "Round $$round"; \
		$(RUN) -m pytest $(FAULTS) || exit 1; done

loadtest: ready $(VENV)/.load  ## run all profiles of loadtest/load.toml and check their limits: build/loadtest
	@$(RUN) -m loadtest $(LOADTEST)

soak: ready $(VENV)/.load  ## an hour of load, to find leaks; writes docs/reliability.md and build/soak
	@$(RUN) -m loadtest.soak --document docs/reliability.md

bench: ready $(VENV)/.bench  ## time post-processing, stitching, network, serving, slides, what is around the network, the page: build/bench
	@$(RUN) -m bench.postprocess
	@$(RUN) -m bench.stitching
	@$(RUN) -m bench.replay
	@$(RUN) -m bench.network
	@$(RUN) -m bench.serving
	@$(RUN) -m bench.slides
	@$(RUN) -m bench.around
	@$(RUN) -m bench.view

bench-peers bench-gpu: $(VENV)/.bench
bench-peers:  ## time other nucleus networks and both presets: build/bench
	@$(RUN) -m bench.peers

bench-precision: ready $(VENV)/.train  ## score what is installed in float32, bfloat16, FP16 and INT8: DATA=folder SET="kumar tnbc"
	@$(RUN) -m bench.precision $(foreach set,$(SET),--set $(set)) --data "$(or $(DATA),$(error Name the data: make bench-precision DATA=folder))"

bench-gpu:  ## time a Triton server on a GPU host: URL=host:8001
	@$(RUN) -m bench.gpu --url $(or $(URL),localhost:8001)

# Tools that conflict with other packages have environments of their own.
build/lint-env/.ready: deploy/lint-requirements.txt
build/moto-env/.ready: tests/deploy/moto-requirements.txt
build/perf-env/.ready: loadtest/perf-requirements.txt
build/release-env/.ready: deploy/release/requirements.txt
build/sbom-env/.ready: deploy/sbom-requirements.txt
build/validate-env/.ready: deploy/manifests/requirements.txt
build/%-env/.ready:
	@$(PYTHON) -m venv build/$*-env
	@build/$*-env/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

perf-analyzer: ready $(VENV)/.load build/perf-env/.ready  ## find the knee by NVIDIA's Perf Analyzer, too; needs libb64-0d; URL=host:8001 BARE=rate
	@$(RUN) -m loadtest.perf_analyzer $(if $(URL),--server "$(URL)") $(if $(BARE),--bare "$(BARE)")

gpu-check: ready $(VENV)/.load  ## run all checks of a GPU host and write a report; PROFILE=image|cpu MINUTES=5
	@$(RUN) -m loadtest.gpu_check $(if $(PROFILE),--profile $(PROFILE)) $(if $(MINUTES),--minutes $(MINUTES))

image: $(VENV)/.serve  ## build the images for CPUs with buildah: localhost/tsfd-triton:cpu, localhost/tsfd-release:cpu
	@$(RUN) -m deploy.image.build

image-test: ready tested image  ## test these images, read-only and as uid 1000
	@$(RUN) -m pytest -s tests/deploy/test_container_image.py tests/deploy/test_release_image.py

chart-test: tested image  ## run the chart's pod with podman; needs helm
	@$(RUN) -m pytest tests/deploy/test_chart_pod.py

image-lint: build/lint-env/.ready  ## check the Dockerfiles with hadolint and checkov
	@build/lint-env/bin/hadolint deploy/Dockerfile deploy/image/base.Dockerfile deploy/models.Dockerfile \
		deploy/release/Dockerfile
	@build/lint-env/bin/checkov --skip-download --quiet --compact --framework dockerfile \
		-f deploy/Dockerfile deploy/image/base.Dockerfile deploy/models.Dockerfile deploy/release/Dockerfile

manifests: build/validate-env/.ready $(VENV)/.test  ## check compose, chart and KServe without a cluster; CRDS=folder
	@PYTHONPATH=. build/validate-env/bin/python -m deploy.manifests.validate $(if $(CRDS),--crds "$(CRDS)")
	@$(RUN) -m pytest tests/deploy/test_chart.py

release: ready  ## make a reproducible archive of the served models: build/release
	@$(RUN) -m deploy.release make --out build/release

release-test: ready tested build/release-env/.ready build/moto-env/.ready  ## test releases with a real registry, and S3: serving and slides
	@which docker-registry > /dev/null || { echo "docker-registry is missing: apt-get install docker-registry"; exit 1; }
	@$(RUN) -m pytest tests/deploy/test_release_registry.py tests/deploy/test_s3.py \
		tests/client/remote/test_slides_on_s3.py

check: $(VENV)/.train  ## summarise DATA and name its problems
	@$(RUN) -m training.check "$(or $(DATA),$(error Name the data: make check DATA=folder))"

train: $(VENV)/.train  ## train: DATA=folder RECIPE=lite|lite-20x|further|full|paper|file START=weights EPOCHS=n OUT=runs/lite RESUME=1
	@$(RUN) -m training.train --data "$(or $(DATA),$(error Name the data: make train DATA=folder))" \
		--recipe "$(RECIPE)" --out "$(OUT)" $(if $(START),--start "$(START)") \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(filter-out 0,$(RESUME)),--resume)

average: $(VENV)/.train  ## average WEIGHTS="a b" of runs from the same start, by SHARES="1 2"; DATA=folder OUT=file
	@$(RUN) -m training.average --data "$(or $(DATA),$(error Name the data: make average DATA=folder))" \
		--weights $(WEIGHTS) $(if $(SHARES),--shares $(SHARES)) $(if $(filter command,$(origin RECIPE)),--recipe "$(RECIPE)") \
		--out "$(if $(filter command,$(origin OUT)),$(OUT),runs/mean.npz)"

evaluate: $(VENV)/.train  ## score WEIGHTS on DATA=folder SPLIT=test SET=x HELD=reporting, or FOLD=3; OUT=folder
	@$(RUN) -m training.evaluate \
		$(if $(FOLD),--pannuke,--manifest) \
		"$(or $(DATA),$(error Name the data: make evaluate DATA=folder))" \
		$(if $(FOLD),--fold $(FOLD)) $(if $(SPLIT),--split $(SPLIT)) $(if $(SET),--set $(SET)) \
		$(if $(HELD),--held-back $(HELD)) $(if $(filter command,$(origin OUT)),--out "$(OUT)") \
		$(if $(SERVER),--server $(SERVER),--weights "$(WEIGHTS)")

scores: $(VENV)/.train  ## score WEIGHTS (one or more) on every set of DATA that reports: the model card's tables
	@$(RUN) -m training.scorecard --weights $(WEIGHTS) $(if $(filter command,$(origin OUT)),--out "$(OUT)") \
		--manifest "$(or $(DATA),$(error Name the data: make scores DATA=folder))"

evaluate-classes: $(VENV)/.train  ## score own classes, learned from few nuclei of DATA with WEIGHTS; PART=lizard|tissue|gate|served
	@$(RUN) -m training.evaluation.classes --weights "$(WEIGHTS)" $(if $(PART),--part $(PART)) \
		$(if $(SERVER),--server $(SERVER)) \
		--manifest "$(or $(DATA),$(error Name the data: make evaluate-classes DATA=folder))"

calibrate: $(VENV)/.train  ## calibrate the classes of WEIGHTS on held-back images of DATA; WRITE=1 stores it
	@$(RUN) -m training.calibrate --weights "$(WEIGHTS)" $(if $(filter-out 0,$(WRITE)),$(ONTO_NAMED)--write) \
		--manifest "$(or $(DATA),$(error Name the data: make calibrate DATA=folder))"

tune: $(VENV)/.train  ## try thresholds for WEIGHTS on held-back images of DATA; WRITE=1 stores the best
	@$(RUN) -m training.tune --weights "$(WEIGHTS)" $(if $(filter-out 0,$(WRITE)),$(ONTO_NAMED)--write) \
		--manifest "$(or $(DATA),$(error Name the data: make tune DATA=folder))"

protocol: $(VENV)/.train  ## train and score on PanNuke: PROTOCOL=rotation|random DATA=folder RECIPE
	@$(RUN) -m training.protocol $(or $(PROTOCOL),rotation) \
		--pannuke "$(or $(DATA),$(error Name the data: make protocol DATA=PanNuke))" \
		--recipe "$(RECIPE)" --out "runs/$(or $(PROTOCOL),rotation)-$(NAMED)"

lint: $(VENV)/.lint  ## check style, the client's types, and imports between packages
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache

dist: $(VENV)/.test  ## build the client as wheel and source archive: build/dist
	@$(VENV)/bin/python -m build --outdir build/dist client

sbom: setup build/sbom-env/.ready  ## write bills of materials of client, server and container: build/sbom
	@build/sbom-env/bin/python deploy/sbom.py

clean:  ## remove everything built, except .venv
	rm -rf build $(BUILT)
