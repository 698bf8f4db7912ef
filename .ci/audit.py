"""Look for known vulnerabilities in what a user installs: ``make audit``.

Every requirement of the package and of its extras that is installed here is asked about, with what it
needs in turn; tools of development are not. Exit status 1 when one is vulnerable. An advisory service
that cannot be reached is said, and is no failure: whether this repository builds must not depend on it.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements() -> list[str]:
    """What the package and its extras ask for."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [
        *project["dependencies"],
        *(each for name in extras if name != "all" for each in extras[name]),
    ]


def installed(wanted: Iterable[str]) -> dict[str, str]:
    """The versions of all that is installed of them, and of what they need."""
    found: dict[str, str] = {}
    waiting = [(Requirement(each), "") for each in wanted]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            package = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        found[package.name] = package.version
        for each in ("", *requirement.extras):
            if (package.name, each) not in seen:
                seen.add((package.name, each))
                waiting += [(Requirement(one), each) for one in package.requires or ()]
    return dict(sorted(found.items()))


def ask(versions: dict[str, str]) -> tuple[str, str]:
    """What ``pip-audit`` answers, and what it complains of."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in versions.items())
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name]
        command += [
            "--no-deps",
            "--disable-pip",
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            "10",
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return run.stdout, run.stderr


def report(answer: str, complaint: str) -> tuple[list[str], bool]:
    """What to print, and whether something is vulnerable."""
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        reason = (complaint.strip().splitlines() or ["no answer"])[-1]
        return [f"not audited: {reason}"], False
    unknown = [each for each in packages if "skip_reason" in each]
    names = ", ".join(each["name"] for each in unknown)
    lines = [f"not audited: {names}: {unknown[0]['skip_reason']}"] if unknown else []
    vulnerable = [each for each in packages if each.get("vulns")]
    for each in vulnerable:
        for found in each["vulns"]:
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            lines.append(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    clean = sum("vulns" in each and not each["vulns"] for each in packages)
    return [*lines, f"{clean} of {len(packages)} packages have no known vulnerability"], bool(vulnerable)


def main() -> int:
    lines, vulnerable = report(*ask(installed(requirements())))
    print(*lines, sep="\n")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
