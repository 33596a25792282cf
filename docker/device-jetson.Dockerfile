# The image for a Jetson: edgepress' runtime beside TensorRT, which it speaks to by trtexec.
#
#   docker build -f docker/device-jetson.Dockerfile -t edgepress-jetson .    (on the board)
#   docker run --rm --init --runtime nvidia -v "$PWD:/models:ro" \
#     -v edgepress-engines:/cache edgepress-jetson --runtime trtexec model-int8-jetson.onnx
#
# For JetPack 6 (TensorRT 10.3, CUDA 12.6, Python 3.10). For JetPack 7 name an image that
# has its TensorRT: `--build-arg BASE=IMAGE`. An engine belongs to one GPU and one TensorRT,
# so there is none in here: it is built at first use and kept in the volume /cache.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0

# trtexec answers for inference, so numpy is the only library that is asked for.
FROM ${BASE} AS libraries
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_INDEX_URL
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if ! python3 -c 'import ensurepip'; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -m venv /opt/edgepress \
    && /opt/edgepress/bin/pip install --no-cache-dir --no-compile 'numpy>=1.26,<3' \
    && rm -rf /opt/edgepress/lib/python3*/site-packages/pip \
      /opt/edgepress/lib/python3*/site-packages/setuptools

FROM ${BASE}
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
# Whoever runs it (`--user`) may keep engines; `python3` has to be there and new enough.
RUN install --directory --mode=1777 /cache /models \
    && python3 -m runtime --help > /dev/null
WORKDIR /models
USER 1000:1000
ENTRYPOINT ["python3", "-m", "runtime"]
CMD ["--help"]
