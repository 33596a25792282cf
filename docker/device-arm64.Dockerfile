# The image that runs model files on 64-bit ARM boards: edgepress' runtime with LiteRT and
# ONNX Runtime; nothing that trains or exports.
#
#   docker build -f docker/device-arm64.Dockerfile -t edgepress-arm64 .      (on the board)
#
# On another machine add `--platform linux/arm64` (and QEMU, see docker/README.md). Every
# line works with BuildKit as Docker 20.10 has it and with buildah 1.28.
ARG BASE=python:3.11-slim-bookworm

# What `[onnx]` and `[tflite]` ask for on this processor, and nothing else of pyproject.toml,
# so that a change of the code downloads nothing. pip is not needed afterwards.
FROM ${BASE} AS libraries
ENV PATH=/opt/edgepress/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
WORKDIR /build
COPY pyproject.toml ./
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python3 -c 'import pathlib, tomllib; \
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]; \
extras = project["optional-dependencies"]; \
print(*project["dependencies"], *extras["onnx"], *extras["tflite"], sep="\n")' \
    > requirements.txt \
    && python3 -m venv /opt/edgepress \
    && pip install --no-cache-dir --no-compile --requirement requirements.txt \
    && rm -rf /opt/edgepress/lib/python3*/site-packages/pip \
      /opt/edgepress/lib/python3*/site-packages/setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="edgepress-arm64" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=libraries /opt/edgepress /opt/edgepress
COPY LICENSE docker/device/healthy.sh /opt/edgepress/
COPY runtime /opt/edgepress/app/runtime

# Whatever is written goes to /tmp, the one place that a read-only container has to give.
ENV PATH=/opt/edgepress/bin:$PATH \
    PYTHONPATH=/opt/edgepress/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    EDGEPRESS_CACHE=/tmp/edgepress

# Mount the files to measure here.
WORKDIR /models
USER 1000:1000
# Healthy is a board on which every file computes what its self-test says.
HEALTHCHECK --interval=5m --timeout=2m --start-period=2m --retries=1 \
    CMD ["sh", "/opt/edgepress/healthy.sh"]
ENTRYPOINT ["python3", "-m", "runtime"]
CMD ["--help"]
