# tubepet with all that requirements.lock pins (docs/elsewhere.md). `BASE` is any Debian with Python 3.11 or newer and its venv;
# `TORCH_INDEX` is an index of CPU wheels, which saves several GB.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG TORCH_INDEX=
ENV PATH=/opt/tubepet/bin:${PATH}

# what GATE's libraries link to, its pictures too
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libice6 libsm6 libxext6 && \
    rm -rf /var/lib/apt/lists/*

# the packages first: a change of the code does not install them again
COPY requirements.lock /src/requirements.lock
RUN python3 -m venv /opt/tubepet && \
    pip install --no-cache-dir --no-deps ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} -r /src/requirements.lock

# as a wheel, which holds the workflow
COPY . /src
RUN pip install --no-cache-dir --no-deps --no-build-isolation /src

# A home for whoever runs it (`--user`, without an entry in /etc/passwd): numba and matplotlib keep their caches there.
RUN mkdir -p /home/tubepet /work && chmod 1777 /home/tubepet /work
ENV HOME=/home/tubepet USER=tubepet
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["tubepet"]
CMD ["--help"]
