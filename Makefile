# `make demo` and `make test` set themselves up on a fresh machine: virtual environment, installation, then the job.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

.PHONY: demo test pytest test-all lint typecheck test-device test-arm64 docs test-docker sample clean

demo: $(INSTALLED)
	@$(BIN)/tlee-export examples/digits.safetensors -o build/digits.tlee --replace
	@echo
	@$(BIN)/tlee-run build/digits.tlee examples/clips/*.mp4
	@echo
	@echo "The same without stopping early:"
	@$(BIN)/tlee-run build/digits.tlee examples/clips/*.mp4 --no-early-exit

# One thread each: the workers take the cores, and sums come in one order (batch norm over two numbers makes a training
# of a few steps chaotic). A file stays with one worker, so that what its tests share is made once; each worker loads
# PyTorch, which costs as much as many tests. With more cores: make test WORKERS=8.
WORKERS ?= 2
# Compiled modules are kept, wherever they come from and whatever the environment says: else each of some hundred processes
# compiles PyTorch's again.
KEPT = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/build/pycache
PYTEST = OMP_NUM_THREADS=1 $(KEPT) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
test: lint
	$(MAKE) --no-print-directory -j 2 typecheck pytest

pytest: $(INSTALLED)
	$(PYTEST)

# All documents and the Python reference as a site, in build/site. The tool wants documents in one folder, and modules where
# installing puts them.
ROOMS = $(patsubst %/__init__.py,%,$(wildcard */__init__.py))
PAGES = $(wildcard *.md) CITATION.cff LICENSE setup.py docs docker examples install $(ROOMS)
docs: $(INSTALLED)
	@rm -rf build/docs
	@mkdir -p build/docs/pages build/docs/package/tlee
	@ln -s $(addprefix $(CURDIR)/,$(PAGES)) build/docs/pages
	@ln -s $(CURDIR)/tlee/* $(addprefix $(CURDIR)/,$(filter-out tlee,$(ROOMS))) build/docs/package/tlee
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# With every backbone and golden trace at full size: about 20 minutes on 2 cores.
test-all: lint typecheck
	$(PYTEST) -m "full or not full"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --no-tips -q -t=3.6- --violations tlee power data/*.py engines runtime benchmarks doctor

# Type stubs of TensorRT 10, without the libraries that they ask for; two mistakes in them are no Python at all.
STUBS = build/stubs
$(STUBS): $(INSTALLED)
	@rm -rf $@
	$(BIN)/pip install -q --no-deps --target $@ tensorrt-stubs==10.13.0.35.1
	sed -i -E 's/\bin: list/in_: list/; s/None, channel_axis: int\)/None, channel_axis: int = 0)/' $@/tensorrt_bindings/*.pyi

# Checkers need an installed, non-editable package: the folders become subpackages only by installing. What mypy found out
# about it and the libraries stays in build/mypy, which makes the next time a matter of seconds.
typecheck: $(STUBS)
	@rm -rf build/typecheck build/lib
	$(BIN)/pip install -q --no-deps --no-build-isolation --target build/typecheck .
	cd build/typecheck && MYPYPATH=../stubs $(abspath $(BIN))/mypy --cache-dir ../mypy --config-file $(CURDIR)/pyproject.toml -p tlee

# Everything that examples/ ships, made anew: videos, checkpoint, clips, model card, the README's results. About 45 minutes.
sample: $(INSTALLED)
	$(BIN)/python examples/moving_digits.py build/digits
	$(BIN)/python examples/moving_digits.py build/digits-tuning --train 0 --val 4000 --test 3000 --seed 1
	$(BIN)/tlee-train examples/digits.yml -o build/digits-run --resume
	$(BIN)/python examples/publish.py build/digits build/digits-run build/digits-tuning

# The device side on Python 3.6 with the oldest libraries, in an Ubuntu 18.04 that stays in build/bionic: 4 minutes, the next time
# 2. As root, with debootstrap. With PYTHON36=/path/to/python3.6 neither is needed, and no video files are read.
test-device: $(INSTALLED)
	tests/python36/run.sh $(BIN) $(PYTHON36)

# The device side on aarch64 under emulation, on Debian's Python, its answers beside this machine's. As root, on x86_64;
# says what must be installed. make test-arm64 NANO=3.6 goes on with the Nano's own Python, 3.6.9, built from source.
test-arm64: $(INSTALLED)
	tests/arm64/run.sh $(BIN) $(NANO)

# Builds the images on stand-ins for NVIDIA's bases and uses them; needs root, debootstrap, buildah and podman.
test-docker: $(INSTALLED)
	PYTHON=$(abspath $(BIN))/python tests/docker/build.sh

# uv does in 30 s what takes pip 90, most of it unpacking CUDA's libraries. Where only pip is set up for the registry, pip does it
# (--no-compile: torch alone holds thousands of modules that nothing here imports).
$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q uv
	$(BIN)/uv pip install --python $(BIN)/python -e ".[dev]" || $(BIN)/pip install --no-compile -e ".[dev]"
	@mkdir -p build
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build
