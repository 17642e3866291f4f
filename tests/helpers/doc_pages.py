"""The commands, options and snippets that README.md and docs/ show."""

import argparse
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

from markdown_it import MarkdownIt

from helpers.commands import REPO

PAGES = tuple(
    path.relative_to(REPO).as_posix()
    for path in (
        *(REPO / 'README.md', REPO / 'CONTRIBUTING.md'),
        *sorted((REPO / 'docs').glob('*.md')),
    )
)
TOOL = re.compile(r'(?:tools|dev)/\w+\.(?:py|sh)')
OPTION = re.compile(r'(?<![\w-])--[a-zA-Z][\w-]*')
NOT_RUN = re.compile(r'<!-- not run: (.+) -->')
# Commands that no one writes outside of a block, where they would not be seen.
LOOSE = re.compile(
    r'^\s*\$?\s*(?:make|python3?|pip|mim|srun|tools/\S+)\s', re.MULTILINE
)
# Scripts over tools of Python: the tool, and which of their arguments are their own.
SCRIPTS = {
    'tools/dist_train.sh': ('tools/train.py', (1,)),
    'tools/dist_test.sh': ('tools/test.py', (2,)),
}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``reason`` is why its commands are not run, if they are not."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None


@dataclass(frozen=True)
class Command:
    """A command of a page, word by word."""

    place: str
    words: tuple[str, ...]
    reason: str | None

    @property
    def tool(self) -> str | None:
        """The file of this repository that it calls, such as 'tools/train.py'."""
        return self._split()[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the tool is called with."""
        return self._split()[1]

    @property
    def line(self) -> str:
        """The command as one line."""
        return shlex.join(self.words)

    def _split(self) -> tuple[str | None, tuple[str, ...]]:
        for number, word in enumerate(self.words):
            if TOOL.fullmatch(word):
                return word, self.words[number + 1 :]
            if word == '-m' and self.words[number + 1].startswith('dev.'):
                tool = self.words[number + 1].replace('.', '/')
                package = (REPO / tool).is_dir()
                tool += '/__main__.py' if package else '.py'
                return tool, self.words[number + 2 :]
        return None, self.words[1:]


def read_blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    tokens = _tokens(page)
    blocks = []
    for before, token in zip([None, *tokens], tokens):
        if token.type == 'fence':
            mark = NOT_RUN.search(before.content) if _is_comment(before) else None
            reason = mark and mark[1]
            line = token.map[0] + 1
            blocks.append(Block(page, line, token.info, token.content, reason))
    return blocks


def read_inline_code(page: str) -> list[tuple[str, str]]:
    """What a page sets as code within its lines, each with its place."""
    return [
        (f'{page}:{token.map[0] + 1}', child.content)
        for token in _tokens(page)
        if token.type == 'inline'
        for child in token.children
        if child.type == 'code_inline'
    ]


def read_indented_code(page: str) -> list[tuple[str, str]]:
    """The blocks of a page that are code by their indentation, with their places."""
    return [
        (f'{page}:{token.map[0] + 1}', token.content)
        for token in _tokens(page)
        if token.type == 'code_block'
    ]


def read_commands(page: str) -> list[Command]:
    """The commands of a page's ``bash`` blocks."""
    commands = []
    for block in read_blocks(page):
        if block.language == 'bash':
            for line in _logical_lines(block.text):
                words = tuple(shlex.split(line, comments=True))
                if words:
                    place = f'{page}:{block.line}'
                    commands.append(Command(place, words, block.reason))
    return commands


def resolve_script(tool: str, arguments: tuple[str, ...]) -> tuple[str, list[str]]:
    """A shell script's call as that of the tool it starts on several processes."""
    tool, own = SCRIPTS.get(tool, (tool, ()))
    return tool, [word for i, word in enumerate(arguments) if i not in own]


@functools.cache
def parser_of(tool: str) -> argparse.ArgumentParser:
    """The parser of a tool, taken from it when it begins to parse."""

    class FoundError(Exception):
        pass

    def stop(parser, *_, **__):
        raise FoundError(parser)

    names = ('parse_args', 'parse_known_args')
    with mock.patch.multiple(argparse.ArgumentParser, **dict.fromkeys(names, stop)):
        module = importlib.import_module(tool.removesuffix('.py').replace('/', '.'))
        try:
            module.main()
        except FoundError as found:
            return found.args[0]
    raise AssertionError(f'{tool} parses nothing')


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a parser and of its commands."""
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= options_of(command)
    return found


def tools() -> list[str]:
    """All tools with a command line."""
    patterns = ('tools/*.py', 'dev/*.py', 'dev/*/__main__.py')
    files = [path for pattern in patterns for path in REPO.glob(pattern)]
    texts = {path: path.read_text() for path in files}
    return [
        path.relative_to(REPO).as_posix()
        for path, text in sorted(texts.items())
        if 'ArgumentParser' in text and '__main__' in text
    ]


def list_synopses(text: str) -> Iterator[tuple[str, list[str]]]:
    """The tools that a ``text`` block shows, each with the options it names."""
    tool, options = None, []
    for line in text.splitlines():
        named = TOOL.search(line) if not line.startswith(' ') else None
        if named or not line.startswith(' '):
            if tool:
                yield tool, options
            tool, options = named and named[0], []
        options += OPTION.findall(line)
    if tool:
        yield tool, options


def _is_comment(token) -> bool:
    return token is not None and token.type == 'html_block'


def _logical_lines(text: str) -> list[str]:
    return re.sub(r'\\\n\s*', ' ', text).splitlines()


@functools.cache
def _tokens(page: str) -> list:
    text = (REPO / page).read_text(encoding='utf-8')
    return MarkdownIt('commonmark').enable('table').parse(text)
