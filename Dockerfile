# `singleshot serve` on a CPU, as a user without rights. docs/how-to/container.md tells how to build and run it.
#
# The commands below are run in a fresh virtual environment by tests/test_dockerfile.py (make test-long).
FROM python:3.11-slim-bookworm

# Where torch comes from: its small CPU-only wheels. Empty for the CUDA build of PyPI.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/singleshot
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN grep '^torch==' constraints.txt > torch.txt \
    && python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url $TORCH_INDEX} --no-deps --requirement torch.txt
COPY src src
RUN python -m pip install --no-cache-dir --constraint constraints.txt ".[web,video,export]"

RUN useradd --system --create-home --uid 10001 singleshot && install -d -o singleshot /cache
USER 10001
# Compiled code and downloads; a volume keeps them, and the next start is faster.
ENV SINGLESHOT_CACHE=/cache
VOLUME /cache

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["singleshot"]
CMD ["serve", "/models/model.safetensors", "--host", "0.0.0.0", "--port", "8000"]
