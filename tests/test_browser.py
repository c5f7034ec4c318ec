"""The widgets move under a hand: a notebook in JupyterLab, in a headless Chromium.

nbdev_test moves sliders by code. Only a browser shows that what a reader sees changes too.
"""
from importlib.util import find_spec

import pytest

import browser
from notebooks import ROOT, VIEW, name, notebooks, outputs, read

WIDGETS = ['tutorials/01_balanced_network.ipynb']  # notebooks with a slider that redraws a figure
MORE = [  # the same; minutes in a browser, so tried with `pytest --all-widgets` only
    '16_explore.ipynb', 'tutorials/02_bump_attractor.ipynb', 'tutorials/03_amari_field.ipynb', 'tutorials/04_grid_cells.ipynb',
    'tutorials/05_force.ipynb', 'tutorials/06_echo_state.ipynb', 'tutorials/07_short_term_plasticity.ipynb',
    'tutorials/08_song.ipynb', 'tutorials/09_multisensory.ipynb', 'tutorials/10_stdp_window.ipynb',
    'tutorials/11_potjans_diesmann.ipynb',
]


@pytest.fixture
def page():
    for module in ('jupyterlab', 'playwright'):
        if not find_spec(module): pytest.skip(f"{module} is not installed: pip install -e '.[browser]'")
    if not browser.CHROMIUM: pytest.skip('no Chromium: install one, or name it in the variable CHROMIUM')
    with browser.chromium_page() as page: yield page


@pytest.mark.parametrize('notebook', WIDGETS + MORE)
def test_the_figure_follows_the_slider(notebook, page, tmp_path, tmp_path_factory, request):
    "In every cell with sliders, each move of the first redraws its figure; `browser` raises where a cell or a callback fails"
    if notebook in MORE and not request.config.getoption('all_widgets'): pytest.skip('only with pytest --all-widgets')
    copy = browser.copy_notebook(ROOT/'nbs'/notebook, tmp_path)
    with browser.jupyter_lab(tmp_path, tmp_path_factory.mktemp('home')) as url:
        browser.open_and_run(page, f'{url}/lab/tree/{copy.name}')
        for which in range(page.locator(browser.CELL).count()):
            slider = browser.Slider(page, which)
            figures = [slider.figure(), slider.nudge(), slider.enter()]
            assert len(set(figures)) == 3, f'the figure of widget {which} did not change with each move'


def test_every_notebook_with_a_widget_is_tried_in_the_browser():
    interactive = {name(path) for path in notebooks() if any(VIEW in out.get('data', {}) for out in outputs(read(path)))}
    assert interactive <= {*WIDGETS, *MORE}
