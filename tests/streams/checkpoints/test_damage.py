"""A file with one wrong byte, or cut anywhere, gives exactly what was kept, or is refused."""

import random
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streams.checkpoints import Checkpoint, Checkpoints, Output, StoreRefused

NAMES = ("p", "q", "directory/of recordings")


def everything(path: Path) -> Any:
    """All that a store can be asked for."""
    with closing(Checkpoints(path, wall=lambda: 100.25)) as store:
        said = [(store.outputs(name), store.undelivered(name)) for name in NAMES]
        return store.partitions(), said, [store.claim(name) for name in NAMES]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of some pages, with free ones, overflowing ones, and a tree of two levels."""
    path = tmp_path_factory.mktemp("whole") / "state.db"
    with closing(Checkpoints(path, wall=lambda: 100.25)) as store:
        for number, name in enumerate(NAMES):
            store.claim(name, "one")
            for commit in range(3):
                kept = bytes(range(256)) * (40 if commit == 1 else 20)
                said = [
                    Output(f"s{n % 5}", "op", 10 * commit + n, b'{"n":%d}' % n * 9) for n in range(10)
                ]
                store.commit(name, 1, Checkpoint(at=commit + number, snapshots={"Fold": kept}), said)
                store.delivered(name, said[::2])
    return path.read_bytes()


@pytest.fixture(scope="module")
def truth(whole: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("truth") / "state.db"
    path.write_bytes(whole)
    return everything(path)


def outcomes(cases: Iterable[bytes], truth: Any, folder: Path) -> tuple[int, int]:
    """How many gave exactly what was kept, and how many were refused, unchanged."""
    exact = refused = 0
    for number, data in enumerate(cases):
        path = folder / f"{number}.db"
        path.write_bytes(data)
        try:
            assert everything(path) == truth, number
            exact += 1
        except StoreRefused:
            refused += 1
        for each in folder.iterdir():
            each.unlink()
    return exact, refused


def test_a_wrong_byte_is_noticed_or_harmless(whole: bytes, truth: Any, tmp_path: Path) -> None:
    """Any byte of the header, and many others: in a key, a value, a number, a pointer, a free page."""
    chosen = random.Random(9)

    def flipped() -> Iterable[bytes]:
        for position in [*range(100), *(chosen.randrange(len(whole)) for _ in range(500))]:
            data = bytearray(whole)
            data[position] ^= chosen.choice([1, 2, 4, 8, 16, 32, 64, 128, 255, chosen.randrange(1, 256)])
            yield bytes(data)

    exact, refused = outcomes(flipped(), truth, tmp_path)
    assert exact + refused == 600
    assert min(exact, refused) > 100


def test_a_name_that_is_no_text_is_damage(whole: bytes, tmp_path: Path) -> None:
    """Python cannot even say SQLite's own words about it."""
    path = tmp_path / "state.db"
    path.write_bytes(whole.replace(b"tableoutputoutput", b"table\xdd\xddtputoutput"))
    with pytest.raises(StoreRefused, match=r"cannot be read as a checkpoint store: .*utf-8"):
        Checkpoints(path)


def test_a_wrong_mark_of_delivery_is_noticed(whole: bytes, tmp_path: Path) -> None:
    """No checksum is of it, since it changes; SQLite's check misses it in the index of the undelivered."""
    path = tmp_path / "state.db"
    place = whole.index(b"\x08\x02s1op")  # output 2 of the first partition; 9 is SQLite's 1, 8 its 0
    path.write_bytes(whole[:place] + b"\x09" + whole[place + 1 :])
    with pytest.raises(StoreRefused, match=r"is damaged: .*in index undelivered"):
        Checkpoints(path)


def test_a_file_that_was_cut_is_refused(whole: bytes, truth: Any, tmp_path: Path) -> None:
    """Within a page or between two; only an empty one is a new store."""
    chosen = random.Random(9)
    lengths = [1, 15, 16, 99, 100, 512, 4095, *range(4096, len(whole), 4096), len(whole) - 1]
    lengths += [chosen.randrange(1, len(whole)) for _ in range(60)]
    assert outcomes((whole[:length] for length in lengths), truth, tmp_path) == (0, len(lengths))
