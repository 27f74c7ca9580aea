# The server in a container; docs/deploy.md says how to run it.
#
#   docker build --tag latentloom .                          with PyTorch for NVIDIA cards
#   docker build --tag latentloom --build-arg DEVICE=cpu .   with PyTorch for processors, which is much smaller
#
# Everything in the checkout is copied except what .dockerignore names.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG DEVICE=cuda
# Optional parts of Latentloom (heic, upscalers, mcp), and more arguments of pip, for instance an index with another build
# of PyTorch.
ARG EXTRAS=heic
ARG PIP_ARGS=""
RUN python -m venv /opt/latentloom
COPY constraints.txt /src/constraints.txt
RUN case "$DEVICE" in \
      cuda) index="" ;; \
      cpu) index="--index-url https://download.pytorch.org/whl/cpu" ;; \
      *) echo "DEVICE is cuda or cpu, not '$DEVICE'" >&2; exit 1 ;; \
    esac; \
    case "$EXTRAS" in *upscalers*) vision=torchvision ;; *) vision="" ;; esac; \
    /opt/latentloom/bin/pip install --no-cache-dir -c /src/constraints.txt $index $PIP_ARGS torch $vision
COPY . /src
RUN /opt/latentloom/bin/pip install --no-cache-dir -c /src/constraints.txt $PIP_ARGS "/src[$EXTRAS]"

FROM python:${PYTHON}-slim
RUN useradd --uid 1000 --create-home latentloom && install -d -o latentloom -g latentloom /data
COPY --from=build /opt/latentloom /opt/latentloom
USER latentloom
ENV PATH=/opt/latentloom/bin:$PATH \
    LATENTLOOM_HOME=/data \
    LATENTLOOM_HOST=0.0.0.0 \
    LATENTLOOM_LOG_FORMAT=json \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /data
EXPOSE 8420
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8420/readyz', timeout=4)"]
CMD ["loom", "serve"]
