# The image for a Jetson: edgepress' runtime beside TensorRT, which it speaks to by trtexec.
#
#   docker build -f docker/device-jetson.Dockerfile -t edgepress-jetson .    (on the board)
#   docker run --rm --init --runtime nvidia -v "$PWD:/models:ro" \
#     -v edgepress-engines:/cache edgepress-jetson --runtime trtexec model-int8-jetson.onnx
#
# For JetPack 6 (TensorRT 10.3, CUDA 12.6, Python 3.10), with which l4t-jetpack ends. For
# JetPack 7 name an image that has its TensorRT: `--build-arg BASE=IMAGE`. An engine belongs
# to one GPU and one TensorRT, so there is none in here: it is built at first use and kept
# in the volume /cache.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0

# Python 3.10 or newer; NVIDIA's images for CUDA have none.
FROM ${BASE} AS python
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip'; then \
      apt-get update \
      && DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi

# trtexec answers for inference, so numpy is the only library that is asked for.
FROM python AS libraries
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_INDEX_URL
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python3 -m venv /opt/edgepress \
    && /opt/edgepress/bin/pip install --no-cache-dir --no-compile 'numpy>=1.26,<3' \
    && rm -rf /opt/edgepress/lib/python3*/site-packages/pip \
      /opt/edgepress/lib/python3*/site-packages/setuptools

FROM python
LABEL org.opencontainers.image.title="edgepress-jetson" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=libraries /opt/edgepress /opt/edgepress
COPY LICENSE /opt/edgepress/
COPY runtime /opt/edgepress/app/runtime
ENV PATH=/opt/edgepress/bin:/usr/src/tensorrt/bin:$PATH \
    PYTHONPATH=/opt/edgepress/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/cache
# Whoever runs it (`--user`) may keep engines; a Python that is too old ends the build.
RUN install --directory --mode=1777 /cache /models \
    && python3 -m runtime --help > /dev/null
WORKDIR /models
USER 1000:1000
ENTRYPOINT ["python3", "-m", "runtime"]
CMD ["--help"]
