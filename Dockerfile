# Builds the Bento and its image with nothing but Docker; with BentoML, use `make image` (docs/deploy/image.md).
#   docker build -t jubako:cpu .
#   docker build -t jubako:cuda --build-arg APP_ENV=gpu .

# The same as in deploy/packing.py.
ARG BASE=python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51

FROM ${BASE} AS build
# cpu or gpu: which build of torch.
ARG APP_ENV=cpu
ENV VIRTUAL_ENV=/app/.venv PATH=/app/.venv/bin:$PATH UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 BENTOML_DO_NOT_TRACK=True
RUN pip install --no-cache-dir --root-user-action ignore uv==0.13.9 && uv venv /app/.venv
WORKDIR /src
COPY constraints.txt constraints-ui.txt ./
RUN case "$APP_ENV" in \
        cpu) uv pip install --torch-backend cpu -r constraints.txt ;; \
        gpu) uv pip install -r constraints.txt ;; \
        *) echo "APP_ENV is cpu or gpu, not $APP_ENV" >&2; exit 1 ;; \
    esac \
    && uv pip install --no-deps --target /app/.venv/jubako-ui -r constraints-ui.txt
COPY . ./
RUN export BENTOML_HOME=/tmp/bentoml variant=cuda && if [ "$APP_ENV" = cpu ]; then variant=cpu; fi \
    && bentoml build --version packed --arg variant=$variant \
    && mkdir /home/bentoml && mv /tmp/bentoml/bentos/jubako/packed /home/bentoml/bento

FROM ${BASE}
RUN groupadd --gid 1034 bentoml && useradd --no-create-home --uid 1034 --gid 1034 bentoml \
    && mkdir /data && chown bentoml:bentoml /data \
    && python -m pip uninstall --quiet --yes --root-user-action ignore setuptools wheel pip
COPY --from=build /app/.venv /app/.venv
COPY --from=build /home/bentoml /home/bentoml
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 LANG=C.UTF-8 HOME=/data \
    BENTO_PATH=/home/bentoml/bento BENTOML_HOME=/tmp/bentoml BENTOML_CONTAINERIZED=true BENTOML_DO_NOT_TRACK=True \
    HF_HUB_DISABLE_TELEMETRY=1 TRANSFORMERS_VERBOSITY=error
WORKDIR /home/bentoml/bento
USER 1034:1034
VOLUME /data
EXPOSE 3000
ENTRYPOINT ["/home/bentoml/bento/env/docker/entrypoint.sh"]
