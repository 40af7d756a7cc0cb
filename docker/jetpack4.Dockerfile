# tlee for a Jetson Nano: JetPack 4.6 (L4T r32.7, Ubuntu 18.04, Python 3.6). CUDA 10.2 and TensorRT 8.2.1 with its Python
# module are not in the image: when a container starts, the nvidia runtime mounts those of the board into it.
ARG BASE=nvcr.io/nvidia/l4t-base:r32.7.1

FROM ${BASE} AS base
# Without lists whose keys NVIDIA has replaced since: apt would refuse all of them.
RUN rm -f /etc/apt/sources.list.d/cuda*.list /etc/apt/sources.list.d/nvidia-ml*.list \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates curl libegl1 python3 python3-gi python3-numpy gir1.2-gst-plugins-base-1.0 \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav \
    && rm -rf /var/lib/apt/lists/*
COPY docker/install-nvidia.sh /usr/local/sbin/
# From NVIDIA: OpenCV 4 with GStreamer; Ubuntu 18.04 has version 3. Nothing is fetched where it is there already.
RUN python3 -c "import cv2" || install-nvidia.sh r32.7 libopencv-python

FROM base AS builder
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
# From NVIDIA: CUDA's headers and the stub of its driver, for PyCUDA. They are there already where docker builds with the
# nvidia runtime, which mounts the board's, and not to be written to.
ARG CUDA_ROOT=/usr/local/cuda-10.2
RUN test -e "$CUDA_ROOT/include/cuda.h" || install-nvidia.sh r32.7 cuda-cudart-dev-10-2 cuda-driver-dev-10-2
ENV CUDA_ROOT=$CUDA_ROOT CPATH=$CUDA_ROOT/targets/aarch64-linux/include LIBRARY_PATH=$CUDA_ROOT/targets/aarch64-linux/lib/stubs
COPY install/aksetup-defaults.py /etc/
COPY install/tools.txt /build/
# Ubuntu 18.04's pip knows the registry by the name that it had then.
RUN python3 -m venv --system-site-packages /opt/tlee \
    && /opt/tlee/bin/pip install --no-cache-dir --index-url https://pypi.org/simple -r /build/tools.txt
COPY install/jetpack4.txt /build/requirements.txt
# The release of the board's jtop service, where it is another one.
ARG JETSON_STATS=4.3.2
RUN sed -i "s/^jetson-stats==.*/jetson-stats==$JETSON_STATS/" /build/requirements.txt \
    && /opt/tlee/bin/pip install --no-cache-dir --no-deps --no-build-isolation -r /build/requirements.txt
COPY . /build/tlee
RUN /opt/tlee/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build/tlee \
    && /opt/tlee/bin/pip uninstall -q -y wheel pip

FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="tlee for JetPack 4.6" \
    org.opencontainers.image.description="Early-exit video recognition on a Jetson Nano" \
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
