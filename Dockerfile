# The server of `likewise serve` in a container: docs/serving.md says how to build and run it.
#
#   TORCH_INDEX_URL   where torch comes from; empty: PyPI, whose torch for Linux brings CUDA and is several GB larger than
#                     that of https://download.pytorch.org/whl/cpu
#   EXTRAS            of pyproject.toml, such as serve,milvus

ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX_URL=
ARG EXTRAS=serve
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/likewise
ENV PATH=/opt/likewise/bin:$PATH
WORKDIR /source
# From what changes least to what changes most, so that a changed line of Python does not download torch again.
# The linter does not see that the version is pinned, by an argument.
# hadolint ignore=DL3013
RUN pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch==$TORCH_VERSION"
COPY constraints.txt requirements.txt ./
RUN pip install --constraint constraints.txt --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints.txt ".[$EXTRAS]"

FROM ${PYTHON_IMAGE}
# A number, so that Kubernetes sees that it is not root. The file system may be read-only: what is written goes to /cache
# (downloads and thumbnails) and /tmp (uploads, until the server ends).
RUN groupadd --gid 10001 likewise \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin likewise \
    && install --directory --owner=10001 --group=10001 /cache /run-folder
COPY --from=build /opt/likewise /opt/likewise
ENV PATH=/opt/likewise/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    LIKEWISE_CACHE=/cache
USER 10001:10001
WORKDIR /run-folder
VOLUME ["/cache"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# Loading the model takes a while on a busy machine; /readyz then encodes and searches.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client; asked = http.client.HTTPConnection('127.0.0.1', 8000, timeout=10); asked.request('GET', '/readyz'); raise SystemExit(asked.getresponse().status != 200)"]
ENTRYPOINT ["likewise"]
# Beyond loopback the server starts only with keys: LIKEWISE_API_KEYS and LIKEWISE_WRITE_KEYS, or --keys FILE.
CMD ["serve", "/run-folder", "--host", "0.0.0.0", "--port", "8000"]
