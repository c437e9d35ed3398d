# Everything here makes .venv and installs into it by itself.

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help dataset quickstart test lint docs faults render-checks engine-checks report-check benchmark benchmark-wordings benchmark-full train-speed eval-speed quickstart-check several ablations ablations-paper ablations-half-rate ablations-van-gogh ablations-filtering ablations-on-policy ablations-unrehearsed ablations-patches ablations-seeds ablations-window-seeds nano-check clean

help:
	@echo "make quickstart   the whole job on Janus-nano, from a concept to an erased model one can look at"
	@echo "make test         the whole suite"
	@echo "make lint         ruff, mypy and the import contracts"
	@echo "make docs         build the documentation as a site, and check every link: build/docs/site/index.html"
	@echo "make faults       kills, full disks, hand-edited files, then 70 kills at random moments, 1,000 LLM calls, and a suite killed twice"
	@echo "make render-checks  rendering against transformers, 2,000 equal images, 10,000 in flat memory (an hour)"
	@echo "make engine-checks  a driver's memory for a million records, and COCO-30k counted (an hour)"
	@echo "make report-check  a report of 1,000 images: its size, and how fast it answers in Chromium (some minutes)"
	@echo "make benchmark    four concepts, five recipes, up to five seeds each (resumable; measured anew, 21 hours of a core)"
	@echo "make benchmark-wordings  what is left in each class of wordings, at least 80 prompts each (resumable, an hour of a core)"
	@echo "make benchmark-full  what each recipe can reach: 8 trials of each (resumable; begins no trial after 40 minutes)"
	@echo "make train-speed  the released loop against teacher forcing, and what each recipe needs at full size (ten minutes)"
	@echo "make eval-speed   how long ear eval takes on Janus-nano (ten minutes)"
	@echo "make quickstart-check  whether the quickstart's shorter training meets the recipe's goals (resumable, an hour)"
	@echo "make several      church and cat in one adapter against two that are stacked (resumable, about 75 minutes on one thread)"
	@echo "make ablations    the paper's ablations and ours: nine targets ablations-*, each of which begins nothing after half an hour (resumable)"
	@echo "make nano-check   whether the Janus-nano that ships meets its goals (extra nano; about five minutes)"
	@echo "make dataset      the dataset that ships: data/datasets/church, by nano"
	@echo "make clean        remove .venv, the site and caches; runs in ecgvf-store and build stay"

.venv/new:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

# What users need, without the extras.
.venv/installed-core: pyproject.toml | .venv/new
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

# All extras, and what tests and linters need.
.venv/installed: pyproject.toml | .venv/new
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch .venv/installed-core $@

quickstart: .venv/installed-core
	$(BIN)/ear quickstart

# A worker more than there are cores: many tests wait for processes that they started. Threads that wait for others sleep
# instead of spinning, which would take the cores from the other workers: rendering is 2.5 times as fast beside two busy
# processes.
test: .venv/installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	$(BIN)/python -m tools.site

faults: .venv/installed
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m benchmarks.faults --kills 10 --out docs/faults.json
	$(BIN)/python -m benchmarks.paid_once --out docs/paid-once.json
	$(BIN)/python -m benchmarks.suite_kills --out docs/suite-kills.json

render-checks: .venv/installed
	$(BIN)/python -m benchmarks.render --runs 3 --out docs/render.json
	$(BIN)/python -m benchmarks.equal_images --images 2000 --out docs/equal-images.json
	$(BIN)/python -m benchmarks.render_memory --out docs/render-memory.json
	$(BIN)/python -m benchmarks.fidelity_memory --out docs/fidelity-memory.json

engine-checks: .venv/installed
	$(BIN)/python -m benchmarks.engine --out docs/engine.json
	$(BIN)/python -m benchmarks.coco --out docs/coco.json

report-check: .venv/installed
	$(BIN)/python -m benchmarks.report --out docs/report.json

benchmark: .venv/installed
	$(BIN)/ear suite benchmarks/nano.yaml

benchmark-wordings: .venv/installed
	$(BIN)/ear suite benchmarks/nano-wordings.yaml

benchmark-full: .venv/installed
	$(BIN)/python -m benchmarks.frontier --minutes 40

train-speed: .venv/installed
	$(BIN)/python -m benchmarks.train --runs 7 --out docs/train.json

eval-speed: .venv/installed
	$(BIN)/python -m benchmarks.evaluate --out docs/evaluate.json

quickstart-check: .venv/installed
	$(BIN)/python -m benchmarks.quickstart --out docs/quickstart.json

several: .venv/installed
	$(BIN)/python -m benchmarks.several --out docs/several.json

# One thread, whose order of sums does not depend on the machine's number of cores.
ABLATIONS := build/ablations
MINUTES := 30
ABLATE = OMP_NUM_THREADS=1 $(BIN)/ear ablate --store $(ABLATIONS) --prompts-per-other 8 --minutes $(MINUTES)

ablations: ablations-paper ablations-half-rate ablations-van-gogh ablations-filtering ablations-on-policy ablations-unrehearsed ablations-patches ablations-seeds ablations-window-seeds

ablations-paper: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe paper --out docs/ablations/paper \
	  --over window,patch-sampling,threshold,layers,modules,adapter,guidance,order,trajectory,retention,retention-weight,surrogates,data

ablations-half-rate: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe paper --option learning_rate=5e-5 --out docs/ablations/paper-half-rate \
	  --over window,patch-sampling

ablations-van-gogh: .venv/installed
	$(BIN)/ecgvf generate --concept van-gogh --writers offline --store $(ABLATIONS)
	$(BIN)/ecgvf filter --concept van-gogh --store $(ABLATIONS)
	$(ABLATE) --dataset ecgvf/van-gogh --recipe paper --out docs/ablations/paper-van-gogh --over window

# Sampled so that the judge rejects three in ten of the pairs; with nano's own sampling it rejects hardly any.
ablations-filtering: ABLATIONS := build/ablations-filtering
ablations-filtering: .venv/installed
	$(BIN)/ecgvf generate --concept church --writers offline --pairs 120 --store $(ABLATIONS)
	$(BIN)/ecgvf render --concept church --guidance 2.5 --temperature 1 --store $(ABLATIONS)
	$(BIN)/ecgvf filter --concept church --store $(ABLATIONS)
	$(ABLATE) --dataset ecgvf/church --recipe paper --out docs/ablations/paper-filtering --over data

ablations-on-policy: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe on-policy --out docs/ablations/on-policy \
	  --over retained-concepts,retention,adapter,rehearsal-noise,surrogates,data

ablations-unrehearsed: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe on-policy --option retention=0 --out docs/ablations/on-policy-unrehearsed \
	  --over trajectory,loss,guidance,adapter

# Single patches, in the order of generation or at random.
ablations-patches: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe paper --option window=1 --option learning_rate=5e-5 \
	  --out docs/ablations/paper-patches --over patch-sampling

# A variant is three trainings here, and none is begun after the limit.
ablations-seeds ablations-window-seeds: MINUTES := 10
ablations-seeds: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe on-policy --seeds 0,1,2 --out docs/ablations/on-policy-seeds \
	  --over retained-concepts,retention

# In shuffled order: in the dataset's, every seed trains alike.
ablations-window-seeds: .venv/installed
	$(ABLATE) --dataset ecgvf/church --recipe paper --option learning_rate=5e-5 --option order=shuffled --seeds 0,1,2 \
	  --out docs/ablations/paper-window-seeds --over window

nano-check: .venv/installed
	$(BIN)/python -m tools.nano check

dataset: .venv/installed
	$(BIN)/ecgvf generate --concept church --writers offline
	$(BIN)/ecgvf filter
	$(BIN)/ecgvf export --concept church --out data/datasets/church

clean:
	rm -rf .venv build/docs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
