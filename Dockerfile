# One image for webhook, certificates and agent; the agent's part carries the CNI plugin with an
# interpreter of its own, for hosts that have none.
#
#     docker build -t cni-genie .        buildah build -t cni-genie .
#
# Any Debian-like base with Python >= 3.11 (pip and venv) does: --build-arg BASE_IMAGE=…
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0
WORKDIR /src

# What runs: pinned, checked against its hashes, in an environment that has no pip itself.
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

# The plugin and its interpreter, a copy of the base's; then one time for all, whenever it was built.
RUN "$(readlink -f "$(command -v python3)")" -m dispatcher.build.payload /opt/genie/plugin \
    --patchelf /tools/bin/patchelf \
 && find /opt/genie -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE_IMAGE}
COPY --from=build /opt/genie /opt/genie
ENV PATH=/opt/genie/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1
# Manifests give each part its command, and the agent the user that it needs.
USER 65532:65532
CMD ["python", "-m", "webhook"]
