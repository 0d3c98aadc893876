# One image for everything: the HTTP endpoint, commands, and Dagster's code server, web page, daemon, runs and steps.
#
#   docker build --target cpu  --build-arg PIP_EXTRA_INDEX_URL=... -t headwater:0.1.0 .        without GPUs, 3.3 GB
#   docker build --target cuda -t headwater:0.1.0-cuda .                                       with CUDA, more by its libraries
#   docker build --target sbom-cpu --build-arg PIP_EXTRA_INDEX_URL=... --output dest .         its bill of materials
#
# Torch for CPUs lies in an index of its own (PyTorch's index of CPU builds), which PIP_EXTRA_INDEX_URL has to name.
# Every version is that of constraints.txt. docs/kubernetes.md says more.

FROM python:3.11-slim-bookworm AS base
SHELL ["/bin/sh", "-eu", "-c"]
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/headwater/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends tesseract-ocr \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 headwater \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin headwater \
 && mkdir -p /project /var/lib/headwater /opt/dagster/dagster_home \
 && chown headwater:headwater /var/lib/headwater

FROM base AS tools
WORKDIR /opt/headwater/source
RUN python3 -m venv /opt/headwater/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install -c constraints.txt --upgrade "pip>=25.1"

# Dependencies change less often than code, so they come first, with an empty package in the code's place.
FROM tools AS dependencies-cpu
ARG PIP_EXTRA_INDEX_URL=""
RUN torch="$(sed -n 's/^torch==//p' constraints.txt)" \
 && pip install -c constraints.txt "torch==${torch}+cpu"
RUN mkdir headwater && touch headwater/__init__.py \
 && pip install -c constraints.txt ".[dagster,k8s,postgres,mcp,otel,ray,sqs]" \
 && pip uninstall -y headwater

FROM tools AS dependencies-cuda
RUN pip install -c constraints.txt torch
RUN mkdir headwater && touch headwater/__init__.py \
 && pip install -c constraints.txt ".[dagster,k8s,postgres,mcp,otel,ray,sqs]" \
 && pip uninstall -y headwater

FROM dependencies-cpu AS build-cpu
COPY headwater ./headwater
RUN pip install --no-deps . && pip check

FROM dependencies-cuda AS build-cuda
COPY headwater ./headwater
RUN pip install --no-deps . && pip check

# The bill of materials, as CycloneDX: what lies in the environment, not what was asked for.
FROM build-cpu AS materials-cpu
RUN python3 -m venv /opt/cyclonedx \
 && /opt/cyclonedx/bin/pip install -c constraints.txt cyclonedx-bom \
 && /opt/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
      --of JSON -o /opt/headwater/sbom.json /opt/headwater/venv/bin/python

FROM build-cuda AS materials-cuda
RUN python3 -m venv /opt/cyclonedx \
 && /opt/cyclonedx/bin/pip install -c constraints.txt cyclonedx-bom \
 && /opt/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
      --of JSON -o /opt/headwater/sbom.json /opt/headwater/venv/bin/python

FROM scratch AS sbom-cpu
COPY --from=materials-cpu /opt/headwater/sbom.json /sbom.json

FROM scratch AS sbom-cuda
COPY --from=materials-cuda /opt/headwater/sbom.json /sbom.json

# What runs: no compiler, no sources, nothing that its user could change.
FROM base AS runtime
ENV PYTHONPATH=/opt/headwater/app \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    HEADWATER_PROJECT=/project \
    HEADWATER_HOME=/var/lib/headwater \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/var/lib/headwater/numba \
    HF_HUB_OFFLINE=1
WORKDIR /opt/headwater/app
COPY definitions.py workspace.yaml ./
COPY assets/*.py ./assets/
COPY resources ./resources
COPY sensors ./sensors
COPY jobs ./jobs
COPY serving ./serving
EXPOSE 8000
CMD ["headwater", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=materials-cuda /opt/headwater/sbom.json /opt/headwater/sbom.json
COPY --from=build-cuda /opt/headwater/venv /opt/headwater/venv
USER 10001:10001

FROM runtime AS cpu
COPY --from=materials-cpu /opt/headwater/sbom.json /opt/headwater/sbom.json
COPY --from=build-cpu /opt/headwater/venv /opt/headwater/venv
USER 10001:10001
