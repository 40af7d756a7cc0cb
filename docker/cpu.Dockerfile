# tlee for trying it out on any machine, x86_64 or aarch64: recognition on ONNX Runtime, on the CPU.
ARG BASE=docker.io/library/debian:bookworm-20251229-slim

FROM ${BASE} AS base
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS builder
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/tlee \
    && /opt/tlee/bin/pip install --no-cache-dir pip==25.3 setuptools==80.9.0 wheel==0.45.1
COPY docker/cpu.txt /build/requirements.txt
RUN /opt/tlee/bin/pip install --no-cache-dir --no-deps -r /build/requirements.txt
COPY . /build/tlee
RUN /opt/tlee/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build/tlee \
    && /opt/tlee/bin/pip uninstall -q -y wheel pip

FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="tlee on a CPU" \
    org.opencontainers.image.description="Early-exit video recognition on ONNX Runtime" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/tlee /opt/tlee
COPY docker/entrypoint.sh docker/healthcheck.sh /usr/local/bin/
# Cameras belong to the group video.
RUN useradd --uid 1000 --create-home --groups video tlee \
    && install -d -o tlee -g tlee /bundle /engines /key /output /run/tlee
ENV PATH=/opt/tlee/bin:$PATH PYTHONUNBUFFERED=1 TLEE_ENGINE_KEY=/key/engine.key ENGINE_DIR=none
USER 1000
WORKDIR /home/tlee
VOLUME ["/bundle", "/engines", "/key", "/output"]
# As Ctrl-C, with which all that runs here ends cleanly.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
