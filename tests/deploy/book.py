#!/usr/bin/env python3
"""Builds the book of docs/ with mdBook, and checks every link and anchor of what came out.

usage: book.py, from the repository's root; leaves target/book/index.html.
"""
import html.parser
import pathlib
import subprocess
import sys
import urllib.parse

BOOK = pathlib.Path("target/book").resolve()


class Page(html.parser.HTMLParser):
    """Where a page's links go, and what in it can be gone to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


mdbook = pathlib.Path(sys.executable).with_name("mdbook")
built = subprocess.run([mdbook, "build", "docs"], capture_output=True, text=True)
if built.returncode or "WARN" in built.stderr or "ERROR" in built.stderr:
    sys.exit(built.stdout + built.stderr)
pages = {path: Page(path) for path in BOOK.rglob("*.html")}
checked = 0
for path, page in pages.items():
    # Of these the paths are those of the web server that they stand on.
    if path.name in ("404.html", "toc.html", "print.html"):
        continue
    for link in page.links:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc or link == "#":
            continue
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            sys.exit(f"{path.relative_to(BOOK)}: {link} leads nowhere")
        if parts.fragment and target in pages and urllib.parse.unquote(parts.fragment) not in pages[target].anchors:
            sys.exit(f"{path.relative_to(BOOK)}: {link} has no such heading")
        checked += 1
if checked < 100:
    sys.exit(f"only {checked} links: this test proves nothing")
print(f"{len(pages)} pages, {checked} links")
