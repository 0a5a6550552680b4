"""The tree of everything that a version came from."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.snapshots import find_snapshot
from models.tables import ModelRecord, VersionParentRecord, VersionRecord
from models.versions import find_version

GENERATIONS_MAX = 100
"""Deeper than this a tree is cut: a policy refreshed every five hours has thousands of ancestors,
and neither JSON nor a reader takes a tree that deep."""


def trace(session: Session, name: str, number: int) -> dict[str, object]:
    """Give the version, its snapshot, config and artifact, and the same of its parents, as JSON.

    An ancestor reached by two ways is told once; its other places hold its `ref` and
    `"told_above": true`. A node whose parents were cut off by GENERATIONS_MAX has `"cut": true`.
    Raises NotFound.
    """
    top = find_version(session, name, number)
    names = {m.id: m.name for m in session.scalars(select(ModelRecord))}
    tree = _node(session, top, names)
    told = {top.id}
    level: list[tuple[VersionRecord, dict[str, object]]] = [(top, tree)]
    for _ in range(GENERATIONS_MAX):
        parents = _parents_of(session, [version.id for version, _ in level])
        following: list[tuple[VersionRecord, dict[str, object]]] = []
        for version, node in level:
            nodes: list[dict[str, object]] = []
            for parent in parents[version.id]:
                if parent.id in told:
                    ref = f"{names[parent.model_id]}@{parent.number}"
                    nodes.append({"ref": ref, "told_above": True})
                    continue
                told.add(parent.id)
                nodes.append(_node(session, parent, names))
                following.append((parent, nodes[-1]))
            node["parents"] = nodes
        level = following
        if not level:
            return tree
    for _, node in level:
        node["cut"] = True
    return tree


def _node(session: Session, version: VersionRecord, names: dict[int, str]) -> dict[str, object]:
    snapshot = find_snapshot(session, version.snapshot_hash) if version.snapshot_hash else None
    told: dict[str, object] | None = None
    if snapshot is not None:
        told = {
            "hash": snapshot.hash,
            "signal": snapshot.signal,
            "as_of": snapshot.as_of.isoformat(),
            "num_rows": snapshot.num_rows,
            "num_positives": snapshot.num_positives,
            "path": snapshot.path,
        }
    elif version.snapshot_hash:
        told = {"hash": version.snapshot_hash}
    return {
        "ref": f"{names[version.model_id]}@{version.number}",
        "name": names[version.model_id],
        "number": version.number,
        "artifact": {"hash": version.artifact_hash, "path": version.artifact_path},
        "config_hash": version.config_hash,
        "recipe": version.recipe,
        "run_id": version.run_id,
        "created_at": version.created_at.isoformat(),
        "snapshot": told,
        "parents": [],
    }


def _parents_of(session: Session, ids: Sequence[int]) -> dict[int, list[VersionRecord]]:
    parents: dict[int, list[VersionRecord]] = {version_id: [] for version_id in ids}
    rows = session.execute(
        select(VersionParentRecord.version_id, VersionRecord)
        .join(VersionRecord, VersionRecord.id == VersionParentRecord.parent_id)
        .where(VersionParentRecord.version_id.in_(ids))
        .order_by(VersionParentRecord.version_id, VersionParentRecord.position)
    )
    for version_id, parent in rows:
        parents[version_id].append(parent)
    return parents
