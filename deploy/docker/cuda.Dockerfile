# finerank for NVIDIA GPUs, on torch, whose wheels bring the CUDA libraries; the driver is the host's. Build it from the
# root of the repository, and run it with --gpus all:
#   docker build -f deploy/docker/cuda.Dockerfile -t finerank/cuda .
ARG BASE=debian:13.8-slim

# hadolint ignore=DL3006
FROM ${BASE} AS build
ENV PIP_CONSTRAINT=/src/deploy/docker/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG EXTRAS=otel,transformers,sentencepiece
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/finerank \
 && /build/bin/pip --python /opt/finerank/bin/python install ".[${EXTRAS}]" \
 && find /opt/finerank -type d -name tests -prune -exec rm -rf {} + \
 && cp deploy/docker/healthcheck.py /opt/finerank/
# Hub models to put into the image, separated by spaces: --build-arg MODELS="BAAI/bge-reranker-v2-m3"
ARG MODELS=""
RUN HF_HOME=/models/hub /opt/finerank/bin/python deploy/docker/bake.py finerank-mini ${MODELS} \
 && mkdir -p /models/hub

# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="finerank" \
      org.opencontainers.image.description="Self-hosted reranking for RAG, on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get upgrade -y \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin finerank \
 && install -d -o finerank -g finerank /var/cache/finerank
COPY --from=build /opt/finerank /opt/finerank
COPY --from=build --chown=10001:10001 /models /models
ENV PATH=/opt/finerank/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models/hub \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    FINERANK_CACHE_DIR=/var/cache/finerank \
    FINERANK_SERVE_HOST=0.0.0.0 \
    FINERANK_SERVE_AUTH=optional
USER 10001:10001
WORKDIR /tmp
VOLUME ["/var/cache/finerank"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["python", "-I", "/opt/finerank/healthcheck.py"]
ENTRYPOINT ["finerank"]
CMD ["serve"]
