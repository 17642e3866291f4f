"""Folders that are made anew: what is deleted, and above all what is not."""

import shutil

import pytest
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool

from dev.comparison.runs import Run, train_and_test
from dev.folders import MARKER, OF_A_RUN, renew_folder
from dev.kill_training import check_resume
from dev.quickstart import quickstart
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import check_only


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names_in(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}


def test_what_was_made_is_made_anew(tmp_path):
    folder = tmp_path / 'deep' / 'out'
    renew_folder(folder, ['run*'])
    assert names_in(folder) == {MARKER}
    fill(folder, 'run_1/a.pth', 'run.log')
    renew_folder(folder, ['run*'])
    assert names_in(folder) == {MARKER}


def test_a_link_is_emptied_and_what_lies_behind_one_is_kept(tmp_path):
    kept = fill(tmp_path / 'kept', 'a.txt')
    real = tmp_path / 'disk'
    link = tmp_path / 'out'
    real.mkdir()
    link.symlink_to(real)
    renew_folder(link, ['run*'])
    (real / 'run_data').symlink_to(kept)
    renew_folder(link, ['run*'])
    assert names_in(real) == {MARKER} and link.is_symlink()
    assert names_in(kept) == {'a.txt'}


def test_what_others_made_is_kept(tmp_path):
    folder = fill(tmp_path / 'mine', 'run_1/thesis.txt')
    with pytest.raises(UserError, match='mine is not emptied because it was not made'):
        renew_folder(folder, ['run*'])
    assert names_in(folder) == {'run_1/thesis.txt'}
    # Nor what is put into one of ours later.
    shutil.rmtree(folder)
    renew_folder(folder, ['run*'])
    fill(folder, 'run_1/a.pth', *(f'note{n}' for n in range(5)))
    message = r"also holds \['note0', 'note1', 'note2'\] and 2 more: move them away"
    with pytest.raises(UserError, match=message):
        renew_folder(folder, ['run*'])
    assert len(names_in(folder)) == 7
    with pytest.raises(UserError, match='note0 is not a folder'):
        renew_folder(folder / 'note0', ['run*'])
    with pytest.raises(UserError, match='the folder .*below cannot be made'):
        renew_folder(folder / 'note0' / 'below', ['run*'])


def test_names_are_told_by_patterns(tmp_path):
    folder = fill(tmp_path, 'iter_4.pth', '.iter_8.pth.partial', '20260101_101010/log')
    check_only(folder, OF_A_RUN)
    with pytest.raises(UserError, match="'iter_4.pth'"):
        check_only(folder, ['*.partial', '2026*'])


def test_quickstart_into_a_folder_of_ones_own(tmp_path):
    """As with ``--out .``: nothing is deleted, and nothing drawn first."""
    mine = fill(tmp_path / 'mine', 'code.py', '.git/HEAD')
    done = fork_tool(
        'dev/quickstart.py', '--data-root', tmp_path / 'data', '--out', mine
    )
    assert_one_line_error(done, 'mine is not emptied', MARKER)
    assert names_in(mine) == {'code.py', '.git/HEAD'}
    assert not (tmp_path / 'data').exists()
    with pytest.raises(UserError, match='is not emptied'):
        quickstart(REPO, tmp_path / 'data', REPO)
    assert (REPO / 'dev' / 'quickstart.py').is_file()


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / 'file').touch()
    for tool, *arguments in (
        ('dev/compare_backbones.py', '--iters', '2', '--data-root', tmp_path, '--out'),
        (
            'dev/reproduce.py',
            'semfpn_rapidnet_m_ade20k',
            '--file',
            __file__,
            '--work-dir',
        ),
    ):
        done = fork_tool(tool, *arguments, tmp_path / 'file')
        assert_one_line_error(done, 'file cannot be made')


CONFIG = REPO / 'configs' / 'semfpn_rapidnet_ti_shapes.py'


@pytest.mark.parametrize(
    ('tool', 'folder'),
    [
        (lambda out: check_resume(REPO, str(CONFIG), out), 'undisturbed'),
        (lambda out: train_and_test(Run(CONFIG, out, out / 'run', 0), REPO), 'run'),
        (
            lambda out: train_and_test(Run(CONFIG, out, out / 'run', 0), REPO),
            'run_test',
        ),
    ],
)
def test_no_tool_deletes_what_it_did_not_make(tool, folder, tmp_path):
    fill(tmp_path, f'{folder}/iter_4.pth')
    with pytest.raises(UserError, match=f'{folder} is not emptied because'):
        tool(tmp_path)
    assert f'{folder}/iter_4.pth' in names_in(tmp_path)
