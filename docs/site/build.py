"""python -m docs.site.build: the pages of docs/ as a site, in site/, that needs no network.

The pages are plain markdown whose links work on a forge. What a site wants besides is made here, in
a copy under .cache/site/: files of the repository that pages link to become pages or come along,
and the notebook becomes a page. Then Zensical builds the copy, strictly: a link or an anchor that
leads nowhere ends the build. At last every page is searched for what it would load from elsewhere.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OWN = ("site", "__pycache__")  # folders of docs/ that are no pages
REPOSITORY = "repository"  # folder of the site that holds files from outside of docs/
CODE = re.compile(r"^(```+)[^\n]*\n.*?^\1|`[^`\n]+`", re.M | re.S)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
# The language of a file that is shown as a page; files with other suffixes are copied.
SHOWN = {
    **{".py": "python", ".cpp": "cpp", ".hpp": "cpp", ".sh": "bash", ".toml": "toml"},
    **{".yaml": "yaml", ".xml": "xml", "": "text"},
}
# What a browser loads with a page, and not what it may go to.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|next|prev))[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^"')]+)|@import\s+["']((?:https?:)?//[^"']+)"""
)
SEARCH = "search_from_disk.js"
# The theme's polyfill of workers on pages that are opened from a folder; SEARCH is ours.
POLYFILL = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')


class SiteError(Exception):
    """A page that a site cannot be built from."""


def prose_links(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Yields (start, end, target, anchor) of the links of a page, those in code left out."""
    code = [m.span() for m in CODE.finditer(text)]
    for found in LINK.finditer(text):
        if not any(start <= found.start() < end for start, end in code):
            yield *found.span(), found[1], found[2] or ""


@dataclass
class Stage:
    """The copy of docs/ that a generator reads.

    Attributes:
        folder: where it is; pages go to ``folder/docs``.
        made: files of the repository that are in it already, with their place under docs/.
    """

    folder: Path
    made: dict[Path, str] = field(default_factory=dict)

    @property
    def docs(self) -> Path:
        """The folder of the pages."""
        return self.folder / "docs"

    def fill(self) -> None:
        """Copies docs/, makes the pages that others link to, and rewrites those links.

        Raises:
            SiteError: a link to a file that is not there.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(DOCS, self.docs, ignore=shutil.ignore_patterns(*OWN))
        for notebook in DOCS.glob("*.ipynb"):
            place = f"{notebook.stem}.md"
            (self.docs / place).write_text(notebook_page(json.loads(notebook.read_text())))
            self.made[notebook] = place
        for page in sorted(DOCS.rglob("*.md")):
            name = page.relative_to(DOCS)
            if name.parts[0] not in OWN:
                (self.docs / name).write_text(self.rewritten(page))
        for name in ("site.css", SEARCH):
            shutil.copy2(DOCS / "site" / name, self.docs / name)
        shutil.copy2(DOCS / "site" / "zensical.toml", self.folder / "zensical.toml")

    def rewritten(self, page: Path) -> str:
        """Returns the text of a page with links that lead to places of the site.

        Raises:
            SiteError: a link to a file that is not there.
        """
        text, done, out = page.read_text(), 0, []
        for start, end, target, anchor in prose_links(text):
            if "://" in target or target.startswith("mailto:"):
                continue
            path = Path(os.path.normpath(page.parent / target))
            if not path.exists():
                raise SiteError(f"{page.relative_to(ROOT)} links to {target}, which is not there")
            place = self.place_of(path)
            link = os.path.relpath(place, page.relative_to(DOCS).parent)
            out += [text[done:start], link, anchor]
            done = end
        return "".join([*out, text[done:]])

    def place_of(self, path: Path) -> str:
        """Returns where a file or folder of the repository is in the site, making it if need be."""
        if path in self.made:
            return self.made[path]
        inside = path.is_relative_to(DOCS)
        place = path.relative_to(DOCS) if inside else REPOSITORY / path.relative_to(ROOT)
        if inside and path.is_file() and path.suffix not in SHOWN:
            return str(place)  # a page or a picture
        if path.is_dir() or path.suffix in SHOWN:
            place = place.with_name(f"{place.name}.md")
        self.made[path] = str(place)
        to = self.docs / place
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            to.write_text(self.folder_page(path, place))
        elif path.suffix in SHOWN:
            to.write_text(code_page(path))
        else:
            shutil.copy2(path, to)
        return str(place)

    def folder_page(self, folder: Path, place: Path) -> str:
        """Returns a page that lists the files of a folder."""
        found = sorted(folder.rglob("*"))
        files = [f for f in found if f.is_file() and "__pycache__" not in f.parts]
        lines = [
            f"- [{f.relative_to(folder)}]({os.path.relpath(self.place_of(f), place.parent)})"
            for f in files
        ]
        return "\n".join([*_head(str(folder.relative_to(ROOT))), *lines, ""])


def _head(title: str) -> list[str]:
    """Returns the first lines of a page that is made, which a search leaves out."""
    return ["---", "search:", "  exclude: true", "---", "", f"# {title}", ""]


def code_page(path: Path) -> str:
    """Returns a page that shows a file of the repository."""
    text = path.read_text()
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    block = [f"{fence}{SHOWN[path.suffix]}", text.rstrip("\n"), fence, ""]
    return "\n".join([*_head(str(path.relative_to(ROOT))), *block])


def notebook_page(notebook: dict[str, Any]) -> str:
    """Returns a notebook's cells as one page: text as it is, programs as blocks of code."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])  # lines, or one text
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, ""])


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Returns what pages and styles of a site would load over the network, as "file: address"."""
    return [
        f"{path.relative_to(site)}: {next(filter(None, found))}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css")
        for found in LOADED.findall(path.read_text())
    ]


def build(site: Path, stage: Path) -> None:
    """Builds the site into a folder.

    Raises:
        SiteError: a link that leads nowhere, a page that cannot be built, or one that would load
            something over the network.
    """
    Stage(stage).fill()
    command = [sys.executable, "-m", "zensical", "build", "-s", "-f", str(stage / "zensical.toml")]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SiteError(f"zensical found what is listed above; its pages are those of {stage}")
    for page in (stage / "site").rglob("*.html"):
        ours = os.path.relpath(stage / "site" / SEARCH, page.parent)
        page.write_text(POLYFILL.sub(f'<script src="{ours}"></script>', page.read_text()))
    if wrong := loaded_from_elsewhere(stage / "site"):
        raise SiteError("these would be loaded over the network:\n" + "\n".join(wrong))
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(stage / "site", site)


def main() -> int:
    """Builds site/; returns the exit status."""
    try:
        build(ROOT / "site", ROOT / ".cache" / "site")
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{ROOT / 'site' / 'index.html'}: {len(list((ROOT / 'site').rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
