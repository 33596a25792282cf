# The image in which models are made smaller: edgepress with every extra, for the CPU.
#
#   docker build -f docker/build.Dockerfile -t edgepress .      (from the repository root)
#
# docker/README.md has the variants: a private package index, a company's certificate,
# wheels at hand, another base. Every line works with BuildKit as Docker 20.10 has it and
# with buildah 1.28, so there is no `# syntax=` line, which would have to be downloaded.
ARG BASE=python:3.11-slim-bookworm

# A virtual environment, because Debian's own Python takes no packages outside of one.
FROM ${BASE} AS environment
ENV PATH=/opt/edgepress/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/edgepress

# Two wheels of edgepress. The first is hollow: its metadata say which libraries are
# needed, and it changes only when they do, so the gigabyte below stays cached while the
# code, the tests' settings and the documents change. A fixed date keeps its bytes fixed.
FROM environment AS wheels
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV SOURCE_DATE_EPOCH=1577836800
WORKDIR /hollow
COPY pyproject.toml ./
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python -c 'import pathlib, tomllib; \
settings = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["tool"]["setuptools"]; \
[pathlib.Path(*name.split(".")).mkdir() for name in sorted(settings["packages"])]' \
    && touch README.md LICENSE \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels/hollow . \
    && printf '%s[all]\n' /wheels/hollow/*.whl > /wheels/hollow/requirements.txt
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY runtime runtime
COPY export export
COPY compress compress
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheels/whole .

FROM environment
LABEL org.opencontainers.image.title="edgepress" \
      org.opencontainers.image.licenses="Apache-2.0"

# The libraries: the large layer. PyTorch's own index has the builds without CUDA, which
# pip prefers to those of PyPI because 2.13.0+cpu is a later version than 2.13.0.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS
COPY --from=wheels /wheels/hollow /wheels/hollow
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    pip install --requirement /wheels/hollow/requirements.txt

# Whoever runs it: the user below, or any other (`--user`), so both folders are open to
# all, and what libraries keep between runs goes to one place that can be a volume.
ARG UID=1000
RUN useradd --uid "$UID" --create-home press \
    && install --directory --mode=1777 /cache /work /work/runs
ENV XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib \
    USER=press

# edgepress itself: the small layer.
RUN --mount=type=bind,from=wheels,source=/wheels/whole,target=/tmp/whole \
    pip install --no-cache-dir --no-deps --force-reinstall /tmp/whole/*.whl \
    && compress --version

USER ${UID}
WORKDIR /work
ENTRYPOINT ["compress"]
CMD ["--help"]
