"""A test that ends its process, or hangs, fails by itself and takes no other along."""

import re
import shlex
import sys
from xml.etree import ElementTree

from helpers.commands import REPO, run_command

SUITE = {
    'test_dying.py': """
import os, signal

def test_before(): pass
def test_dies(): os.kill(os.getpid(), signal.SIGSEGV)
def test_exits(): os._exit(0)
def test_after(): pass
""",
    'test_hanging.py': """
import itertools, time

def test_before(): pass
def test_waits(): time.sleep(600)
def test_never_returns_to_python(): any(itertools.repeat(False))
def test_after(): pass
""",
    'test_quiet.py': """
def test_one(): pass
def test_two(): pass
""",
}
FAILING = {'test_dies', 'test_exits', 'test_waits', 'test_never_returns_to_python'}


def options_of_make_test() -> list[str]:
    """What `make test` calls pytest with."""
    text = (REPO / 'Makefile').read_text().replace('\\\n', '')
    common = re.search(r'^TEST = .* -m pytest (.*)$', text, re.MULTILINE)[1]
    own = re.search(r'^\t@\$\(TEST\) (-m "not slow".*)$', text, re.MULTILINE)[1]
    return shlex.split(f'{common} {own}')


def test_a_test_that_dies_or_hangs_fails_alone(tmp_path):
    for name, text in SUITE.items():
        (tmp_path / name).write_text(text)
    options = options_of_make_test()
    assert {'--timeout', '--max-worker-restart'} < set(options)
    report = tmp_path / 'report.xml'
    done = run_command(
        sys.executable,
        '-m',
        'pytest',
        '-c',
        REPO / 'pytest.ini',
        *options,
        '--timeout',
        '3',
        '-o',
        'faulthandler_timeout=6',
        '-p',
        'no:cacheprovider',
        # Half of what starting pytest takes, and its processes start often here.
        '-p',
        'no:hypothesispytest',
        f'--junitxml={report}',
        tmp_path,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter('testcase'))
    failed = [case.get('name') for case in cases if len(case)]
    assert len(failed) == len(FAILING) and set(failed) == FAILING
    expected = ['test_before', 'test_after'] * 2 + ['test_one', 'test_two']
    passed = [case.get('name') for case in cases if not len(case)]
    assert sorted(passed) == sorted(expected)
