"""Fuzz the readers of bytes: ``python tests/fuzz/run.py --inputs 1000000 --target decoder``.

Prints inputs executed, seconds, peak memory and cases found; each case is kept in ``corpus/``, from where
every test run tries it again. ``--atheris`` lets coverage guide the mutations instead (needs ``atheris``).
"""

import argparse
import hashlib
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import targets as fuzz

GROWTH = 64 * 1024
"""KiB that a run may add to the peak of the process."""


def keep(data: bytes, target: str, error: BaseException) -> None:
    path = fuzz.CORPUS / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    print(f"{path.name}: {type(error).__name__}: {error}"[:300])


def run(name: str, target: fuzz.Target, number: int, seed: int) -> int:
    """Try so many inputs; returns how many cases were found."""
    found = 0
    fuzz.seeds(name)  # what they take is not what the target takes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    for data in fuzz.inputs(name, number, seed):
        try:
            target(data)
        except Exception as error:
            found += 1
            keep(data, name, error)
            if found >= 20:
                break
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {number} inputs, {seconds:.0f} s, peak +{grown / 1024:.1f} MiB, {found} cases found")
    return found + (grown > GROWTH)


def guided(target: fuzz.Target, number: int) -> None:
    """The same, guided by coverage; ends the process."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={number}", "-max_len=4096"], target)
    atheris.Fuzz()


def main() -> int:
    found = fuzz.TARGETS
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs per target")
    parser.add_argument("--target", choices=found, help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="guided by coverage")
    arguments = parser.parse_args()
    chosen = [arguments.target] if arguments.target else list(found)
    if arguments.atheris:
        guided(found[chosen[0]], arguments.inputs)
    return min(1, sum(run(name, found[name], arguments.inputs, arguments.seed) for name in chosen))


if __name__ == "__main__":
    sys.exit(main())
