"""What the site of `make docs` needs beyond mkdocs: pages from the root, and checks.

README.md and CHANGELOG.md are pages of the site, too.  Links to files of the repository
that are no pages become their text.  The build fails on such a link that leads nowhere,
and on a page that would load anything from another host.
"""

from __future__ import annotations

import logging
import os
import re
from html.parser import HTMLParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPO = Path(__file__).resolve().parents[1]
FROM_ROOT = {'README.md': 'index.md', 'CHANGELOG.md': 'changelog.md'}
LINK = re.compile(r'(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\(([^)#\s:]+)(#[^)\s]*)?\)')
IMAGE = re.compile(r'(!\[[^]]*\]\()docs/')
# What a browser loads by itself, as opposed to a link that a reader may follow.
LOADED = {'script': 'src', 'link': 'href', 'img': 'src', 'iframe': 'src'}

# Warnings of mkdocs' own loggers end a strict build.
log = logging.getLogger('mkdocs.hooks.site')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie in the repository's root."""
    for source, page in FROM_ROOT.items():
        text = (REPO / source).read_text(encoding='utf-8')
        files.append(File.generated(config, page, content=_in_docs(text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    """Replace links to files that are no pages, in this page, by their text."""
    folder = (REPO / 'docs' / page.file.src_uri).parent

    def replace(match: re.Match) -> str:
        text, path, anchor = match[1], match[2], match[3] or ''
        target = Path(os.path.normpath(folder / path))
        if target.is_relative_to(REPO / 'docs'):
            return match[0]  # mkdocs looks after it
        if not target.exists():
            log.warning('%s links to %s, which is not there', page.file.src_uri, path)
        name = FROM_ROOT.get(target.relative_to(REPO).as_posix())
        if name is None:
            return text
        return f'[{text}]({os.path.relpath(REPO / "docs" / name, folder)}{anchor})'

    return LINK.sub(replace, markdown)


def on_post_page(output: str, page: Page, **_) -> str:
    """Warn of what a browser would fetch from another host."""
    for url in _Loaded.of(output):
        log.warning('%s would load %s', page.file.src_uri, url)
    return output


def _in_docs(text: str) -> str:
    """The text with its links as seen from docs/."""

    def replace(match: re.Match) -> str:
        path = os.path.relpath(REPO / match[2], REPO / 'docs')
        return f'[{match[1]}]({path}{match[3] or ""})'

    return LINK.sub(replace, IMAGE.sub(r'\1', text))


class _Loaded(HTMLParser):
    """Finds the addresses that a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    @classmethod
    def of(cls, html: str) -> list[str]:
        parser = cls()
        parser.feed(html)
        return parser.urls

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(LOADED.get(tag, ''), '') or ''
        if url.startswith(('http:', 'https:', '//')):
            self.urls.append(url)
