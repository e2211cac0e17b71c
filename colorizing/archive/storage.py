"""Storages that hold photos and results: folders of this machine or its network disks, and object storage by URL."""

import contextlib
import functools
import os
import stat
from pathlib import Path
from typing import NamedTuple

import fsspec

from common.errors import UserError, first_line
from common.files import describe_error, lock_folder, write_whole

# In these stores a file appears whole or not at all; other protocols of fsspec do not promise that.
OBJECT_STORES = ("s3", "gs", "abfs")
# What object stores call the version of a file's content, in this order.
VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime")


class File(NamedTuple):
    """A file of a folder."""

    name: str  # Without its folder.
    size: int  # Bytes.
    version: str  # A text that changes whenever the content does.
    oddity: str = ""  # For what is not a regular file and so cannot be read, what it is; else "".


def open_storage(location):
    """The storage of a folder's path or of a URL like s3://bucket/folder.

    Raises UserError where the URL is of a kind that is not supported, or its package is missing.
    """
    protocol, found, _ = location.partition("://")
    if not found:
        return LocalStorage(location)
    if protocol not in OBJECT_STORES:
        raise UserError(f"{location}: use a folder, or a URL of {', '.join(f'{name}://' for name in OBJECT_STORES)}")
    try:
        return ObjectStorage(location)
    except ImportError as error:
        raise UserError(f"{location}: {error}") from error


class LocalStorage:
    """A folder and the files below it, by their paths relative to it, with "/" between the parts."""

    def __init__(self, location):
        # Absolute, since workers have other working directories.
        self._root = Path(location).absolute()
        self.location = str(self._root)

    def exists(self):
        return self._root.is_dir()

    def path_inside(self, other):
        """The path of another storage relative to this one: "" for the same, None if it lies elsewhere."""
        if not isinstance(other, LocalStorage) or not other._root.resolve().is_relative_to(self._root.resolve()):
            return None
        relative = other._root.resolve().relative_to(self._root.resolve()).as_posix()
        return "" if relative == "." else relative

    def list_folder(self, folder):
        """(files, folders) of a folder: a list of `File` and a list of names, both sorted. Raises OSError."""
        files, folders = [], []
        with os.scandir(self._root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    files.append(_file(entry))
        return sorted(files), sorted(folders)

    def open(self, path):
        """The file for reading, binary. Raises OSError."""
        return (self._root / path).open("rb")

    def read(self, path):
        """The file's content, bytes. Raises OSError."""
        return (self._root / path).read_bytes()

    def write(self, path, content):
        """Writes a file whole or not at all, and makes its folder. Raises OSError."""
        path = self._root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)

    def lock(self):
        """A context for a run that writes; see `lock_folder`. Makes the folder."""
        self._root.mkdir(parents=True, exist_ok=True)
        return lock_folder(self._root)


def _file(entry):
    try:
        status = entry.stat()
    except OSError as error:
        # A file without permission is listed, and fails when it is read.
        return File(entry.name, 0, "", "" if isinstance(error, PermissionError) else "a broken link")
    if stat.S_ISDIR(status.st_mode):
        return File(entry.name, 0, "", "a link to a folder")
    oddity = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
    return File(entry.name, status.st_size, str(status.st_mtime_ns), oddity)


def naming_the_storage(method):
    """Decorator: a method's errors name the storage, and those of libraries behind fsspec become a UserError."""

    @functools.wraps(method)
    def call(storage, *arguments):
        try:
            return method(storage, *arguments)
        except OSError as error:
            error.filename = error.filename or storage.location
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"{storage.location}: the storage cannot be used ({cause}); see to its address and your credentials"
            ) from error

    return call


class ObjectStorage:
    """The files below a URL, see `LocalStorage`. Credentials and the server's address come from the environment."""

    def __init__(self, location):
        self.location = location.rstrip("/")
        # A cached listing would miss what other processes write.
        self._files, self._root = fsspec.url_to_fs(self.location, use_listings_cache=False)

    @naming_the_storage
    def exists(self):
        return self._files.exists(self._root)

    def path_inside(self, other):
        if not isinstance(other, ObjectStorage) or not f"{other.location}/".startswith(f"{self.location}/"):
            return None
        return other.location[len(self.location) + 1 :]

    @naming_the_storage
    def list_folder(self, folder):
        files, folders = [], []
        place = self._path(folder)
        for entry in self._files.ls(place, detail=True):
            name = entry["name"].rstrip("/").rpartition("/")[2]
            if entry["type"] == "directory":
                folders.append(name)
            elif entry["name"].rstrip("/") != place:  # Some tools make an empty object for the folder itself.
                version = next((str(entry[key]) for key in VERSIONS if entry.get(key)), "")
                files.append(File(name, entry["size"], version))
        return sorted(files), sorted(folders)

    @naming_the_storage
    def open(self, path):
        return self._files.open(self._path(path), "rb")

    @naming_the_storage
    def read(self, path):
        return self._files.cat_file(self._path(path))

    @naming_the_storage
    def write(self, path, content):
        # One request, or a multipart upload that is completed at the end: nobody sees half a file.
        self._files.pipe_file(self._path(path), bytes(content))

    def lock(self):
        return contextlib.nullcontext()  # Object stores have no locks.

    def _path(self, path):
        return f"{self._root}/{path}".rstrip("/")


def describe_problem(error):
    """One line for an error of reading or writing, without the file's name."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return describe_error(error)
    return f"{type(error).__name__}: {first_line(error)}"
