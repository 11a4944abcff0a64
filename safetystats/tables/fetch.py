"""Bring the paper's data into the cache: from the pinned commit, or from a folder that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetystats.errors import DataError, Fault
from safetystats.shelf import cache_root, sha256_file, write_atomic
from safetystats.tables.ren2024 import BASE_URL, FILES, find_files, places_in

TIMEOUT_S = 30
_BY_HAND = (
    "Check the network, then run `safetystats data fetch ren2024` again. Without a network, bring the three files "
    "from {url} by other means and run `safetystats data fetch ren2024 --from DIR`, or name their folder in "
    "SAFETYSTATS_DATA."
)


def fetch_ren2024(source: Path | None = None, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Put the paper's three files into the cache, checked by their sha256.

    Parameters
    ----------
    source : Path, optional
        Folder to copy from (the files lie in it, or below it in `upstream`, `ren2024` or `ren2024/upstream`); by
        default they are downloaded from the pinned commit.
    progress : callable, optional
        Called with one line of text per file.

    Returns
    -------
    list of Path
        The files in the cache. Each is written beside its place and renamed, so that an interrupted fetch leaves either
        a whole file or none; files that are there already and prove themselves are not fetched again.

    Raises
    ------
    DataError
        If a file cannot be had, is not the paper's, or cannot be written.
    """
    say = progress if progress is not None else _silent
    folder = cache_root() / "ren2024"
    wanted = [name for name, digest in FILES.items() if not _proves_itself(folder / name, digest)]
    for name in FILES:
        if name not in wanted:
            say(f"{name}: already in {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if source is not None:
            _copy(wanted, source, folder, say)
        else:
            _download(wanted, folder, say)
    except PermissionError as error:
        raise DataError(
            [
                Fault(
                    file=str(folder),
                    expected="a cache folder that can be written",
                    got=f"{error.strerror or error}",
                    remedy="Name another folder in SAFETYSTATS_CACHE.",
                )
            ]
        ) from error
    return [folder / name for name in FILES]


def _silent(line: str) -> None:
    del line


def _proves_itself(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _copy(wanted: list[str], source: Path, folder: Path, say: Callable[[str], None]) -> None:
    if not source.is_dir():
        raise DataError(
            [
                Fault(
                    file=str(source),
                    expected="a folder with the paper's files",
                    got="a file" if source.exists() else "nothing of this name",
                    remedy=f"Name the folder that holds {', '.join(FILES)}.",
                )
            ]
        )
    found = find_files(places_in(source))
    for name in wanted:
        write_atomic(folder / name, found[name].read_bytes())
        say(f"{name}: copied from {found[name].parent}")


def _download(wanted: list[str], folder: Path, say: Callable[[str], None]) -> None:
    if not wanted:
        return
    import pooch

    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
    for name in wanted:
        url = f"{BASE_URL}/{name}"
        try:
            pooch.retrieve(url, known_hash=f"sha256:{FILES[name]}", fname=name, path=folder, downloader=downloader)
        except PermissionError:
            raise
        except OSError as error:
            raise DataError([_unreachable(url, error)]) from error
        except ValueError as error:
            raise DataError(
                [
                    Fault(
                        file=url,
                        expected=f"the paper's file with sha256 {FILES[name][:16]}...",
                        got="a download with another content",
                        remedy="Something on the way (a proxy, a login page) answered instead. "
                        + _BY_HAND.format(url=BASE_URL),
                    )
                ]
            ) from error
        say(f"{name}: downloaded to {folder}")


def _unreachable(url: str, error: OSError) -> Fault:
    answer = getattr(error, "response", None)
    status = "" if answer is None else f", status {answer.status_code}"
    return Fault(
        file=url,
        expected="the file",
        got=f"no answer that holds it ({type(error).__name__}{status})",
        remedy=_BY_HAND.format(url=BASE_URL),
    )
