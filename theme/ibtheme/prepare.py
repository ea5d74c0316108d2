"""Fetch what the theme does not hold itself: KaTeX's style sheet and fonts, the text's font.

mystmd bundles KaTeX 0.15.6, and a formula only looks right with the style sheet of that version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

THEME = Path(__file__).resolve().parents[1]
KATEX = THEME / "public" / "katex"
FONTS = THEME / "public" / "fonts"


def prepare() -> Path:
    """Copy KaTeX and the text's font into the theme, installing them first; once."""
    if (KATEX / "katex.min.css").is_file() and (FONTS / "LICENSE").is_file():
        return KATEX
    install("--omit=dev")
    source = THEME / "node_modules" / "katex" / "dist"
    for folder in (KATEX, FONTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shutil.copytree(
        source / "fonts", KATEX / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff")
    )
    shutil.copy(source / "katex.min.css", KATEX)
    serif = THEME / "node_modules" / "@fontsource" / "source-serif-4"
    for cut in ("400-normal", "400-italic", "600-normal"):
        shutil.copy(serif / "files" / f"source-serif-4-latin-{cut}.woff2", FONTS)
    shutil.copy(serif / "LICENSE", FONTS)
    return KATEX


def install(*options: str) -> None:
    """Run npm in the theme's folder, with the node of this Python environment first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [shutil.which("npm", path=path) or "npm", "install", "--ignore-scripts", *options]
    done = subprocess.run(
        command,
        cwd=THEME,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(
            f"npm could not install what theme/package.json names:\n{done.stderr.strip()}\n"
            "It needs the npm registry once; try again when that can be reached"
        )


if __name__ == "__main__":
    prepare()
