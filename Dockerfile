# The service, its workers, and its workers on a GPU. docs/docker.md says how to build and run them.
#
#   docker build --target api    --tag beamline-model-server:0.1.0        .
#   docker build --target worker --tag beamline-model-server-worker:0.1.0 .
#   docker build --target gpu    --tag beamline-model-server-gpu:0.1.0    .
#
# Debian 13 of 2026-09-18, by tag and digest: the same bytes everywhere. From a mirror of your own:
#   --build-arg BASE=registry.facility.org/debian:trixie-20260918-slim@sha256:...
ARG BASE=docker.io/library/debian:trixie-20260918-slim@sha256:a99cfc517144bc59b1978475ec53b46ecabec7e43635402ee5b77cc54cd1b20a

# ---- Python of Debian, which Debian mends; it brings no pip. The authorities are for identity providers and databases
# hadolint ignore=DL3006
FROM ${BASE} AS python
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get upgrade --yes \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/log/*

# ---- What builds, and stays behind
FROM python AS tools
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
ARG UV_VERSION=0.13.8
WORKDIR /app
COPY tools/get-uv tools/get-uv
# The secret `ca` is for a network that signs TLS connections anew: a file of the authorities to trust.
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt tools/get-uv ${UV_VERSION} /opt/uv/uv
COPY pyproject.toml uv.lock ./

FROM tools AS packages
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/uv/uv sync --quiet --locked --python /usr/bin/python3 --no-default-groups --group service --group cluster \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- The project, with the solver compiled: for every x86-64 processor since 2013, so that it need not be compiled again
FROM packages AS project
COPY app app
COPY model_store /models
ENV NUMBA_CPU_NAME=x86-64-v3
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash app \
    && /opt/venv/bin/python -c "from app.indexing.job import warm_up; warm_up(); warm_up('/models')" \
    && chmod -R a+rX,go-w /app/app /models

# ---- What all images share
FROM python AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="Model server for beamlines" \
      org.opencontainers.image.description="Turns a measurement into an answer while the beam is still on." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE}"
# One user, who owns nothing but /state; no program that gives more rights than its caller has.
RUN groupadd --gid 10001 beamline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin beamline \
    && install --directory --owner 10001 --group 10001 --mode 0750 /state \
    && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CPU_NAME=x86-64-v3 \
    BEAMLINE_HOST=0.0.0.0 \
    BEAMLINE_PORT=8000 \
    BEAMLINE_LOG_FORMAT=json \
    BEAMLINE_KEYS_FILE=/state/keys.json \
    BEAMLINE_MODEL_STORE=/models \
    BEAMLINE_JOBS_DATABASE=sqlite:////state/jobs.sqlite3
WORKDIR /app
STOPSIGNAL SIGTERM

FROM base AS service
COPY --from=packages /opt/venv /opt/venv
COPY --from=project /models /models
COPY --from=project /app/app /app/app
COPY LICENSE deploy/docker/healthcheck.py /app/
USER 10001:10001
VOLUME /state

# ---- A worker on processors; it serves itself again (restart policy), so that a nanny would only hide its end
FROM service AS worker
ENV OMP_NUM_THREADS=1
EXPOSE 8788
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/healthcheck.py", "http://127.0.0.1:8788/health"]
ENTRYPOINT ["dask", "worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", "/tmp", \
            "--no-dashboard", "--dashboard-address", ":8788"]
CMD ["tcp://scheduler:8786"]

# ---- The service
FROM service AS api
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/healthcheck.py", "http://127.0.0.1:8000/health/ready"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]

# ---- A worker on a GPU; JAX brings CUDA, the host brings the driver
FROM tools AS packages-gpu
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/uv/uv sync --quiet --locked --python /usr/bin/python3 --no-default-groups --group service --group gpu \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM base AS gpu
COPY --from=packages-gpu /opt/venv /opt/venv
COPY --from=project /models /models
COPY --from=project /app/app /app/app
COPY LICENSE deploy/docker/healthcheck.py /app/
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    KERAS_BACKEND=jax \
    JAX_COMPILATION_CACHE_DIR=/state/jax
USER 10001:10001
VOLUME /state
EXPOSE 8788
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-IS", "/app/healthcheck.py", "http://127.0.0.1:8788/health"]
ENTRYPOINT ["dask", "worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", "/tmp", \
            "--no-dashboard", "--dashboard-address", ":8788"]
CMD ["tcp://scheduler:8786"]

# ---- What a build without --target makes
FROM api AS default
