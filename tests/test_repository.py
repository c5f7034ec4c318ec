"The parts of this repository agree with each other, and the checks that say so notice when they do not."
import json, re, shutil
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

import check, docs, execute, readme
from notebooks import ROOT, name, notebooks, outputs, read, settings, stale, texts, untidy

ALL = pytest.mark.parametrize('path', notebooks(), ids=name)
MACHINE = re.compile(r'(?<![\w.:/-])/(tmp|root|home|work|Users)/')
MAIN = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/snnlit"
TEST = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python tools/check.py"


# the notebooks and the module

def test_the_module_is_what_the_notebooks_export():
    assert stale() == []


@ALL
def test_clean(path):
    "No execution counts, no stray metadata: a diff shows what was changed and nothing else"
    assert not untidy(path), 'run nbdev_clean'


@ALL
def test_cell_ids_are_unique(path):
    "nbdev writes them into the module; an id that appears twice would be renamed by an editor, and the module with it"
    ids = Counter(cell['id'] for cell in read(path)['cells'])
    assert [each for each, times in ids.items() if times > 1] == []


@ALL
def test_no_stored_error(path):
    assert [out['ename'] for out in outputs(read(path)) if out['output_type'] == 'error'] == []


@ALL
def test_no_path_of_a_machine(path):
    assert [text for text in texts(read(path)) if MACHINE.search(text)] == []


def test_version_is_the_one_in_settings():
    text = (ROOT/'snnlit'/'__init__.py').read_text(encoding='utf-8')
    assert re.search(r'^__version__ = "(.+)"', text, re.M)[1] == settings()['version']


# the site

def entries(contents: list) -> list[str]:
    "The pages of a sidebar, sections unfolded"
    nested = ([item] if isinstance(item, str) else entries(item['contents']) for item in contents)
    return [page for pages in nested for page in pages]


@pytest.fixture(scope='module')
def quarto() -> dict:
    return yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))


def test_the_sidebar_shows_every_notebook_once(quarto):
    assert sorted(entries(quarto['website']['sidebar']['contents'])) == sorted(map(name, notebooks()))


def test_sections_are_in_the_order_of_their_numbers(quarto):
    for section in quarto['website']['sidebar']['contents'][1:]:
        assert section['contents'] == sorted(section['contents'])


def test_every_notebook_is_rendered(quarto):
    patterns = quarto['project']['render']
    missed = [page for page in map(name, notebooks())
              if not any(page.count('/') == each.count('/') and fnmatchcase(page, each) for each in patterns)]
    assert missed == []


def test_nbdev_finds_the_configuration():
    assert (ROOT/'nbs'/'_quarto.yml').resolve() == ROOT/'_quarto.yml'


# README.md and continuous integration

def test_readme_is_made_from_the_index():
    assert list(readme.changes()) == [], 'run python tools/readme.py'


def test_readme_names_no_path_of_a_machine():
    assert not MACHINE.search((ROOT/'README.md').read_text(encoding='utf-8'))


def test_readme_has_its_two_commands_each_in_a_line():
    lines = (ROOT/'README.md').read_text(encoding='utf-8').splitlines()
    assert [line for line in lines if line.startswith('python3 -m venv')] == [MAIN, TEST]


def test_ci_runs_the_test_command_of_the_readme():
    assert TEST in (ROOT/'.ci'/'run').read_text(encoding='utf-8').splitlines()


# the checks notice

UNTRACKED = shutil.ignore_patterns('__pycache__', '.*')


@pytest.fixture
def copy(tmp_path) -> Path:
    "Notebooks, module and README, free to be spoilt"
    for folder in ('nbs', 'snnlit', readme.FIGURES):
        if (ROOT/folder).exists(): shutil.copytree(ROOT/folder, tmp_path/folder, ignore=UNTRACKED)
    for file in ('settings.ini', 'README.md', '_quarto.yml'): shutil.copy(ROOT/file, tmp_path)
    return tmp_path


def test_an_edited_module_and_a_left_over_one_are_noticed(copy):
    with open(copy/'snnlit'/'core.py', 'a') as file: file.write('\nedited = True\n')
    (copy/'snnlit'/'forgotten.py').write_text('')
    (copy/'snnlit'/'_modidx.py').unlink()
    assert stale(copy) == ['snnlit/_modidx.py is missing: run nbdev_export',
                           'snnlit/forgotten.py comes from no notebook: remove it',
                           'snnlit/core.py differs from its notebook: run nbdev_export']


def test_an_execution_count_is_noticed(copy):
    path = copy/'nbs'/'00_core.ipynb'
    notebook = read(path)
    next(cell for cell in notebook['cells'] if cell['cell_type'] == 'code')['execution_count'] = 1
    path.write_text(json.dumps(notebook))
    assert untidy(path)


def test_an_edited_readme_and_a_left_over_figure_are_noticed(copy):
    with open(copy/'README.md', 'a') as file: file.write('edited')
    (copy/readme.FIGURES).mkdir(exist_ok=True)
    (copy/readme.FIGURES/'old.png').write_bytes(b'')
    assert sorted(readme.changes(copy)) == ['README.md', f'{readme.FIGURES}/old.png']


# the tools

def markdown(text: str) -> dict:
    return {'cell_type': 'markdown', 'id': 'a', 'source': text}


def code(text: str, *outs: dict) -> dict:
    return {'cell_type': 'code', 'id': 'b', 'source': text, 'outputs': list(outs)}


def result(**data) -> dict:
    "An output; `text_plain=` stands for `text/plain`"
    return {'output_type': 'execute_result', 'data': {key.replace('_', '/'): value for key, value in data.items()}}


def test_readme_page():
    "Prose as it is, code without its directives, outputs in fences, pictures in files, hidden cells nowhere"
    cells = [markdown('# Title\n[core](00_core.ipynb#same), [licence](../LICENSE), [site](https://a.b/c.ipynb)'),
             code('#| hide\nsecret'), code('#| echo: false\nunseen', result(text_plain='41')),
             code('#| exports\n1 + 1', result(text_plain=['2']), result(image_png='AAAA', text_plain='<Figure>'))]
    page = readme.page({'cells': cells})
    assert page.pop('index_files/b-1.png') == b'\0\0\0'
    assert page.pop('README.md').decode().split('\n\n') == [
        '# Title\n[core](nbs/00_core.ipynb#same), [licence](LICENSE), [site](https://a.b/c.ipynb)',
        '```text\n41\n```', '```python\n1 + 1\n```', '```text\n2\n```', '![](index_files/b-1.png)',
        '<!-- Made from nbs/index.ipynb by tools/readme.py: edit there. -->\n']
    assert page == {}


@pytest.mark.parametrize('status, said, expected', [
    (0, 'Starting a.ipynb\n- Completed a.ipynb\nStarting b.ipynb\n', '2 passed, 0 failed, 1 skipped'),
    (1, 'Starting a.ipynbStarting b.ipynb\n\nnbdev Tests Failed On The Following Notebooks:\n===\n\tb.ipynb\n',
     '1 passed, 1 failed, 1 skipped'),
    (1, 'Starting a.ipynb\nStarting b.ipynb\nStarting c.ipynb\nBrokenProcessPool\n', '2 passed, 1 failed'),
    (127, 'nbdev_test: not found', '0 passed, 1 failed, 3 skipped')])
def test_notebook_counts(status, said, expected):
    assert check.verdict(check.notebook_counts(status, said, total=3)) == expected


@pytest.mark.parametrize('status, suite, expected', [
    (0, '<testsuite tests="5" failures="0" errors="0" skipped="2"/>', '3 passed, 0 failed, 2 skipped'),
    (1, '<testsuite tests="5" failures="1" errors="1" skipped="0"/>', '3 passed, 2 failed'),
    (2, None, '0 passed, 1 failed')])
def test_test_counts(tmp_path, status, suite, expected):
    report = tmp_path/'report.xml'
    if suite: report.write_text(f'<testsuites>{suite}</testsuites>')
    assert check.verdict(check.test_counts(status, report)) == expected


def widget(key: str, *children: str) -> dict:
    return {key: {'state': {'children': [f'IPY_MODEL_{child}' for child in children]}}}


def test_widget_ids_are_the_same_in_every_run():
    "Two runs with other random ids, saved in another order, give one file; what no page shows is left behind"
    def run(box, slider, orphan):
        models = widget(slider) | widget(orphan) | widget(box, slider)
        shown = {'output_type': 'execute_result', 'data': {execute.VIEW: {'model_id': box}}}
        return {'cells': [code('w', shown)], 'metadata': {'widgets': {execute.STATE: {'state': models}}}}
    first, second = (execute.steady(run(*(digit*32 for digit in digits))) for digits in ('abc', 'fde'))
    assert first == second
    assert len(first['metadata']['widgets'][execute.STATE]['state']) == 2


def test_a_page_shows_a_widget_as_the_picture_it_drew():
    models = {'box': {'state': {'children': ['IPY_MODEL_tau', 'IPY_MODEL_out']}},
              'tau': {'state': {'description': 'tau (ms)', 'value': 40.}},
              'out': {'model_name': 'OutputModel', 'state': {'outputs': [result(image_png='AAAA')]}}}
    picture, caption = docs.still({'data': {docs.VIEW: {'model_id': 'box'}}}, models)
    assert picture == result(image_png='AAAA')
    assert caption['data']['text/markdown'] == ['*Interactive in the notebook; drawn here at tau (ms) = 40.*']
