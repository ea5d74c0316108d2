"""A live figure: the picture, and beside it what the module needs that draws it anew.

The script `public/live/start.js` puts the module's drawing in place of the picture when the figure
comes into view. Print, and a reader without JavaScript, keep the picture.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from .context import Context
from .html import tag

MIME = "application/vnd.ibbook.live+json"
MODULES = Path(__file__).resolve().parents[1] / "public" / "live"
INLINE = 8000  # bytes of data that a page carries itself; more is asked for when it is needed


def figure(part: dict[str, Any], still: Markup, context: Context) -> Markup:
    """The picture `still` with the module's name and its data, in the page or at an address."""
    path, text = part.get("path"), part.get("content", "")
    bundle = json.loads(context.assets.read(path).decode() if path else "".join(text))
    module = bundle["module"]
    if not (MODULES / f"{module}.js").is_file():
        context.problems.append(
            f"a live figure names the module {module!r}, which theme/public/live does not have"
        )
        return still
    text = json.dumps(bundle["data"], separators=(",", ":"))
    if len(text) > INLINE:
        address = context.assets.save(text.encode(), ".json")
        return tag("div", still, class_="live", data_module=module, data_source=address)
    # "<" would let the data end the script; JSON may write it as an escape
    data = tag("script", Markup(text.replace("<", "\\u003c")), type="application/json")
    return tag("div", still, data, class_="live", data_module=module)
