"""The page data that is published beside each page, for other MyST sites to read."""

from __future__ import annotations

from .context import Node


def published(node: Node) -> Node:
    """A copy without what a reader should not get: removed cells, and pictures for dark pages.

    >>> published({"type": "root", "children": [{"type": "code", "visibility": "remove"}]})
    {'type': 'root', 'children': []}
    """
    node = dict(node)
    if "children" in node:
        kept = [child for child in node["children"] if child.get("visibility") != "remove"]
        node["children"] = [published(child) for child in kept]
    data = node.get("jupyter_data")
    if data and "ibbook" in (data.get("metadata") or {}):
        metadata = {k: v for k, v in data["metadata"].items() if k != "ibbook"}
        node["jupyter_data"] = data | {"metadata": metadata}
    return node
