# tlee for an Orin with JetPack 5.1 (L4T r35, Ubuntu 20.04, Python 3.8). CUDA 11.4 and TensorRT 8.5.2 are in the base; the
# nvidia runtime mounts the board's driver when a container starts.
ARG BASE=nvcr.io/nvidia/l4t-tensorrt:r8.5.2-runtime

FROM ${BASE} AS base
# Without lists whose keys NVIDIA has replaced since: apt would refuse all of them.
RUN rm -f /etc/apt/sources.list.d/cuda*.list /etc/apt/sources.list.d/nvidia-ml*.list \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates curl gstreamer1.0-plugins-base gstreamer1.0-plugins-good libegl1 python3 \
        python3-numpy python3-opencv \
    && rm -rf /var/lib/apt/lists/*
COPY docker/install-nvidia.sh /usr/local/sbin/
# From NVIDIA: the Python module of the TensorRT that is in the base. Nothing is fetched where it is there already.
RUN python3 -c "import importlib.util as u; exit(u.find_spec('tensorrt') is None)" \
    || install-nvidia.sh r35.4 "python3-libnvinfer=$(dpkg-query -W -f '${Version}' libnvinfer8)"

FROM base AS builder
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
# From NVIDIA: CUDA's headers and the stub of its driver, for PyCUDA. Nothing is fetched where they are there already.
ARG CUDA_ROOT=/usr/local/cuda-11.4
RUN test -e "$CUDA_ROOT/include/cuda.h" || install-nvidia.sh r35.4 cuda-cudart-dev-11-4 cuda-driver-dev-11-4
ENV CUDA_ROOT=$CUDA_ROOT CPATH=$CUDA_ROOT/targets/aarch64-linux/include LIBRARY_PATH=$CUDA_ROOT/targets/aarch64-linux/lib/stubs
COPY install/aksetup-defaults.py /etc/
COPY install/tools.txt /build/
RUN python3 -m venv --system-site-packages /opt/tlee \
    && /opt/tlee/bin/pip install --no-cache-dir -r /build/tools.txt
COPY install/jetpack5.txt /build/requirements.txt
# The release of the board's jtop service, where it is another one.
ARG JETSON_STATS=4.3.2
RUN sed -i "s/^jetson-stats==.*/jetson-stats==$JETSON_STATS/" /build/requirements.txt \
    && /opt/tlee/bin/pip install --no-cache-dir --no-deps --no-build-isolation -r /build/requirements.txt
COPY . /build/tlee
RUN /opt/tlee/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build/tlee \
    && /opt/tlee/bin/pip uninstall -q -y wheel pip

FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="tlee for JetPack 5.1" \
    org.opencontainers.image.description="Early-exit video recognition on an Orin" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/tlee /opt/tlee
COPY docker/entrypoint.sh docker/healthcheck.sh /usr/local/bin/
# Cameras and the GPU's device nodes belong to the group video.
RUN useradd --uid 1000 --create-home --groups video tlee \
    && install -d -o tlee -g tlee /bundle /engines /key /output /run/tlee
ENV PATH=/opt/tlee/bin:$PATH PYTHONUNBUFFERED=1 TLEE_ENGINE_KEY=/key/engine.key NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
USER 1000
WORKDIR /home/tlee
VOLUME ["/bundle", "/engines", "/key", "/output"]
# As Ctrl-C, with which all that runs here ends cleanly.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
