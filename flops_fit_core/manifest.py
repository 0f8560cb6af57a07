"""``sweep.json``: which study a folder holds, and what is planned in it.

In: a study's identity, settings and plan. Out: the same folder extended, or an error that lists
what differs, with nothing touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from flops_fit_core.data import Plan, Run
from flops_fit_core.differences import differences
from flops_fit_core.errors import StoreError
from flops_fit_core.identity import fingerprint
from flops_fit_core.serial import from_plain, plain, to_plain
from flops_fit_core.store import SCHEMA, locked, read_json, remove_strays, write_json

NAME = "sweep.json"


@attrs.frozen(kw_only=True)
class Manifest:
    """What `sweep.json` holds.

    Attributes:
        workload: the workload's name.
        data_unit: what D counts.
        parametrization: of the workload.
        identity: what makes the study what it is (model, data, loss, trainer), by name.
        unidentified: what could not be identified, in words.
        stages: settings of every stage, by kind.
        chosen: the name or class of every stage, by kind.
        plugins: name and version of the distribution that each stage came from.
        plan: every run planned so far, and what was left out.
    """

    workload: str
    data_unit: str
    parametrization: str = "standard"
    identity: Mapping[str, Any]
    unidentified: tuple[str, ...] = ()
    stages: Mapping[str, Any] = attrs.field(factory=dict)
    chosen: Mapping[str, Any] = attrs.field(factory=dict)
    plugins: Mapping[str, str] = attrs.field(factory=dict)
    plan: Plan = attrs.field(factory=lambda: Plan(runs=()))

    @property
    def fingerprint(self) -> str:
        """The study's fingerprint, part of every run's id."""
        return fingerprint(plain(self.identity))


def read_manifest(root: Path) -> Manifest | None:
    """The folder's manifest; ``None`` where the folder is absent or empty.

    Raises:
        StoreError: it is a file, holds something else, or its manifest is damaged.
    """
    if not root.exists():
        return None
    if not root.is_dir():
        raise StoreError(f"output_dir {str(root)!r} is a file: choose a folder. Nothing was changed.")
    if not (root / NAME).exists():
        ours = (".lock", ".gitignore", f".{NAME}.*.tmp")  # a first call that was killed leaves no more
        foreign = [path.name for path in root.iterdir() if not any(map(path.match, ours))]
        if foreign:
            raise StoreError(
                f"output_dir {str(root)!r} holds something else ({', '.join(sorted(foreign)[:5])}) and no {NAME}: choose an "
                "empty or new folder. Nothing was changed."
            )
        return None
    try:
        return from_plain(read_json(root / NAME)["manifest"], Manifest)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"{root / NAME} is damaged ({type(error).__name__}: {error}): choose another output_dir, or move this one away. "
            "Nothing was changed."
        ) from error


def check_folder(root: Path, manifest: Manifest, resume: bool) -> Manifest | None:
    """Check that a study may go into a folder, changing nothing; return what is there.

    Raises:
        StoreError: the folder cannot be written, or holds another study, or any study without `resume`.
    """
    before = read_manifest(root)
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StoreError(f"output_dir {str(root)!r} cannot be written: {str(existing)!r} is not writable for this user")
    if before is None:
        return None
    if not resume:
        raise StoreError(
            f"output_dir {str(root)!r} holds a study already and resume=False: choose another folder, or resume=True to go on "
            "with it. Nothing was changed."
        )
    differing = differences(plain(before.identity), plain(manifest.identity))
    if differing:
        raise StoreError(
            f"output_dir {str(root)!r} holds another study; these differ: {'; '.join(differing)}. One folder holds one study "
            "(budgets, sizes, seeds, planner, fitters and reporter may change): choose another output_dir. Nothing was changed."
        )
    return before


def write_manifest(root: Path, manifest: Manifest, resume: bool) -> Manifest:
    """Write the manifest, joining its plan with what the folder has; return the joined one.

    Raises:
        StoreError: as `check_folder`.
    """
    check_folder(root, manifest, resume)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"output_dir {str(root)!r} cannot be made: {error}") from error
    with locked(root / ".lock"):
        remove_strays(root, NAME)
        before = check_folder(root, manifest, resume=True)
        if before is not None:
            manifest = attrs.evolve(manifest, plan=join(before.plan, manifest.plan))
        write_json(root / NAME, {"schema": SCHEMA, "manifest": to_plain(manifest)})
    return manifest


def join(first: Plan, second: Plan) -> Plan:
    """Two plans as one: every run once, by budget and size."""
    runs: dict[str, Run] = {run.run_id: run for run in (*first.runs, *second.runs)}
    skipped = {(str(skip.size), skip.budget): skip for skip in (*first.skipped, *second.skipped)}
    ordered = sorted(runs.values(), key=lambda run: (run.budget, run.n_params, run.seed))
    return attrs.evolve(second, runs=tuple(ordered), skipped=tuple(skipped.values()))
