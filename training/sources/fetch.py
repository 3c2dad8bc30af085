"""Get the files of a pinned commit: over HTTPS from GitHub, or from local bare repositories."""

from __future__ import annotations

import fnmatch
import io
import subprocess
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from .base import Source

RAW = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
ARCHIVE = "https://codeload.github.com/{repository}/tar.gz/{commit}"
TIMEOUT = 120


class Reader(Protocol):
    """Reads one repository at one commit."""

    def list_paths(self) -> list[str]:
        """Return the paths of all files."""

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""


class MirrorReader:
    """Reads a bare git repository at ``owner+name`` or ``owner+name/repo`` under a folder.

    Parameters
    ----------
    mirror
        Folder of the repositories.
    repository, commit
        GitHub name and commit.
    """

    def __init__(self, mirror: Path, repository: str, commit: str) -> None:
        folder = mirror / repository.replace("/", "+")
        self._folder = folder / "repo" if (folder / "repo").is_dir() else folder
        self._commit = commit

    def _git(self, *arguments: str) -> bytes:
        done = subprocess.run(["git", "-C", str(self._folder), *arguments], capture_output=True, check=False)
        if done.returncode:
            msg = f"{self._folder} cannot give commit {self._commit}: {done.stderr.decode().strip()}"
            raise OSError(msg)
        return done.stdout

    def list_paths(self) -> list[str]:
        """Return the paths of all files."""
        return self._git("ls-tree", "-r", "-z", "--name-only", self._commit).decode().rstrip("\0").split("\0")

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        return self._git("show", f"{self._commit}:{path}")


class GitHubReader:
    """Reads a repository from GitHub: single files one by one, the whole archive once a listing is needed.

    Parameters
    ----------
    repository, commit
        GitHub name and commit.
    """

    def __init__(self, repository: str, commit: str) -> None:
        self._address = {"repository": repository, "commit": commit}
        self._files: dict[str, bytes] = {}

    @cached_property
    def _archive(self) -> dict[str, bytes]:
        packed = _download(ARCHIVE.format(**self._address))
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            members = ((member, archive.extractfile(member)) for member in archive if member.isfile())
            return {member.name.split("/", 1)[1]: handle.read() for member, handle in members if handle}

    def list_paths(self) -> list[str]:
        """Return the paths of all files."""
        return list(self._archive)

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        if "_archive" in self.__dict__:
            return self._archive[path]
        if path not in self._files:
            self._files[path] = _download(RAW.format(**self._address, path=urllib.parse.quote(path)))
        return self._files[path]


def _download(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        content: bytes = response.read()
    return content


@lru_cache(maxsize=4)
def open_reader(repository: str, commit: str, mirror: Path | None) -> Reader:
    """Return the reader of a repository at a commit, the same one for sources that share it."""
    return MirrorReader(mirror, repository, commit) if mirror else GitHubReader(repository, commit)


def match_paths(patterns: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Return the paths that each pattern matches, pattern by pattern; ``*`` does not cross a folder."""
    known = sorted(paths)
    return [
        path
        for pattern in patterns
        for path in known
        if fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")
    ]


def fetch_files(source: Source, mirror: Path | None = None) -> dict[str, bytes]:
    """Return a source's files in the order of its paths.

    Parameters
    ----------
    source
        What to fetch.
    mirror
        Folder of bare git repositories; GitHub where None.

    Returns
    -------
    dict
        Bytes by path.

    Raises
    ------
    OSError
        If the pinned commit or one of its files cannot be had.
    """
    reader = open_reader(source.repository, source.commit, mirror)
    paths = list(source.paths)
    if any("*" in path for path in paths):
        paths = match_paths(paths, reader.list_paths())
    if not paths:
        msg = f"{source.name}: no file of {source.repository}@{source.commit} matches {source.paths}"
        raise OSError(msg)
    return {path: reader.read(path) for path in paths}
