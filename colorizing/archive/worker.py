"""A worker of an archive: reads photos from storage, colorizes them, and writes the results."""

import hashlib
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from colorizing.archive.ledger import DONE, FAILED
from colorizing.archive.reader import try_to_read
from colorizing.archive.storage import describe_problem, open_storage
from colorizing.batching import available_cores
from colorizing.conversion import THREADS, Converter
from common import images


@dataclass(frozen=True)
class Work:
    """The settings of a run, which all of its workers get."""

    source: str  # Location of a storage.
    output: str  # Location of a storage.
    saturation: float  # See `colorizing.photo.Pipeline`.
    render_size: int | None  # See `colorizing.photo.Pipeline`.
    quality: int  # See `common.images`.
    max_megapixels: float  # See `common.images`.


@dataclass(eq=False)
class Worker:
    """Colorizes batches of photos. Lives in a process of its own, with a model of its own."""

    work: Work
    model: bytes  # Content of a .keras file.
    # How often the photos have been tried before. From 1 on, another process reads each photo first, since one of them
    # may have ended a worker. From `ALONE` on, photos are done one by one, and errors are final.
    attempt: int
    ALONE = 2

    def __post_init__(self):
        self._source, self._output = open_storage(self.work.source), open_storage(self.work.output)
        self._converter = Converter(self.work.max_megapixels, self.work.quality)
        self._pool = ThreadPoolExecutor(1 if self.attempt >= self.ALONE else THREADS)
        self._pipeline, self._loading = None, threading.Lock()
        if not self.attempt:
            self._colorizer()  # A model that cannot be loaded ends the run here.

    def _colorizer(self):
        """The pipeline, loaded at first use: photos that end their reader do not need it."""
        with self._loading:
            if self._pipeline is None:
                self._pipeline = load_pipeline(self.model, self.work)
            return self._pipeline

    def __call__(self, batch):
        """Colorizes a batch: {"files": rows of the ledger's listing, as JSON; "problem": passed on}.

        Returns {"rows": rows of the ledger for those that are done or failed, as JSON; "problem": as given}.
        """
        rows = self._pool.map(self._answer, json.loads(batch["files"]))
        return {"rows": json.dumps([row for row in rows if row]), "problem": batch["problem"]}

    def _answer(self, file):
        """The ledger's row for a file, or None if it is to be tried again."""
        start = time.perf_counter()
        try:
            if self.attempt:
                try_to_read(self.work.source, file["path"], self.work.max_megapixels)
            found = self._colorize(file)
        except images.PhotoError as error:
            found = {"state": FAILED, "cause": error.cause}
        except Exception as error:  # A network, a disk, a lack of memory, or the end of the reader: may be temporary.
            if self.attempt < self.ALONE:
                return None
            found = {"state": FAILED, "cause": describe_problem(error)}
        return {**file, "cause": None, **found, "seconds": round(time.perf_counter() - start, 4)}

    def _colorize(self, file):
        path, result, pipeline = file["path"], file["result"], self._colorizer()
        with self._converter.file_in_memory(file["size"]):
            content = self._source.read(path)
            _, colored, losses = self._converter.convert(
                path, content, result, lambda photo: replace(photo, pixels=pipeline(photo.pixels))
            )
            self._output.write(result, colored)
        return {
            "state": DONE,
            "sha256": hashlib.sha256(content).hexdigest(),
            "result_size": len(colored),
            "notes": "; ".join(losses) or None,
        }


def load_pipeline(model, work):
    """The pipeline of a model, for many threads; arguments as for `Worker`.

    TensorFlow is imported here and not above, since the process that starts workers does without it.
    """
    os.environ.update(dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(available_cores())))
    os.environ["KERAS_BACKEND"] = "tensorflow"  # As prepare_imports does.
    import keras

    import models
    from colorizing.batching import Batcher
    from colorizing.photo import Pipeline
    from models.precision import choose_policy

    keras.config.set_dtype_policy(choose_policy())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        file.write_bytes(model)
        try:
            loaded = models.load(file)
        except models.ModelError as error:
            raise models.ModelError(str(error).removeprefix(f"{file}: ")) from error  # Nobody knows this file.
    return Pipeline(Batcher(loaded), work.render_size, work.saturation)
