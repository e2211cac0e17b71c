# Serve the page and the API on http://127.0.0.1:7860, on a CPU:
#   docker build --target serve --tag colorization .
#   docker run --rm --publish 127.0.0.1:7860:7860 colorization
# Train on all GPUs of this machine, which needs the NVIDIA container toolkit:
#   docker build --target train --tag colorization-train .
#   docker run --rm --gpus all --volume "$PWD/runs:/app/runs" --volume "$PWD/datasets:/app/datasets" \
#       colorization-train scenes
FROM python:3.12-slim AS base
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt

FROM base AS train
RUN pip install --no-cache-dir --requirement requirements.txt "tensorflow[and-cuda]"
COPY . .
ENTRYPOINT ["python", "train.py"]

FROM base AS serve
COPY requirements-app.txt .
RUN pip install --no-cache-dir --requirement requirements-app.txt
COPY . .
USER nobody
ENV HOME=/tmp
EXPOSE 7860
ENTRYPOINT ["python", "app.py", "--host", "0.0.0.0"]
