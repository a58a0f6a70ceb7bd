# One image for webhook, certificates, agent and reaper. It also carries the CNI plugin with an
# interpreter of its own, since a node may have no Python.
#
#     docker build -t cni-genie .        buildah build -t cni-genie .
#
# The base may be any Debian-like image with Python >= 3.11, pip and venv: --build-arg BASE_IMAGE=…
# The digest is that of the index of all architectures.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0
WORKDIR /src

# The environment that runs: dependencies pinned and checked by hash, without pip.
COPY requirements requirements
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/genie/venv \
 && /tools/bin/pip install --quiet --require-hashes -r requirements/image.txt \
 && /tools/bin/pip --python /opt/genie/venv/bin/python install --quiet --no-compile \
    --require-hashes -r requirements/run.txt

COPY . .
RUN /tools/bin/hatchling build -t wheel -d /wheel \
 && /tools/bin/pip --python /opt/genie/venv/bin/python install --quiet --no-compile --no-deps \
    --no-index /wheel/*.whl \
 && /opt/genie/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/genie/venv

# The plugin, with a copy of the base's interpreter. Then one modification time for all files, so that
# two builds give the same image.
RUN "$(readlink -f "$(command -v python3)")" -m dispatcher.build.payload /opt/genie/plugin \
    --patchelf /tools/bin/patchelf \
 && find /opt/genie -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE_IMAGE}
COPY --from=build /opt/genie /opt/genie
ENV PATH=/opt/genie/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1
# The manifests set the command of each container, and the user of agent and reaper.
USER 65532:65532
CMD ["python", "-m", "webhook"]

# `make release` adds the labels version, revision, created and base.name.
LABEL org.opencontainers.image.title="CNI-Genie" \
      org.opencontainers.image.description="Pick a pod's CNI networks by annotation" \
      org.opencontainers.image.licenses="Apache-2.0"
