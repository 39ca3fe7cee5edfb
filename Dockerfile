# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /srv/claimprint
RUN python -m venv /srv/venv
COPY requirements.lock ./
RUN /srv/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
# The kernels are compiled here for a CPU that every 64-bit server of the last ten years has; nothing compiles
# at a request, and the root may be read-only.
ENV NUMBA_CACHE_DIR=/srv/kernels NUMBA_CPU_NAME=x86-64-v3
RUN /srv/venv/bin/pip install --disable-pip-version-check --no-deps --no-build-isolation --no-index .
# Away from the sources: the cache belongs to the installed copy.
WORKDIR /
RUN /srv/venv/bin/python -m app.kernels \
    && /srv/venv/bin/python -m compileall -q /srv/venv/lib

FROM python:3.11-slim
RUN install -d -o 10001 -g 10001 /data
COPY --from=build /srv/venv /srv/venv
COPY --from=build /srv/kernels /srv/kernels
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/srv/kernels NUMBA_CPU_NAME=x86-64-v3 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HOST=0.0.0.0 PORT=8000 DATA_DIR=/data
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /data
EXPOSE 8000
VOLUME /data
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/readyz', timeout=3)"]
CMD ["claimprint", "serve"]
