"""A JupyterLab on this machine's loopback, and a person's hands on a slider in it."""
import json, os, re, shutil, socket, subprocess, sys, time, urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from notebooks import ROOT, left_out, read, source

PATIENCE = 240_000  # ms: a tutorial runs for up to a minute, several times that on a busy machine
INSTALLED = map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))
CHROMIUM = os.environ.get('CHROMIUM') or next(filter(None, INSTALLED), None)
FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']

# Nothing runs or waits to run. Between two cells the kernel may look idle for a moment, hence the prompts.
IDLE = r"""() => /\| Idle/.test(document.querySelector('#jp-main-statusbar')?.innerText ?? '')
  && ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.innerText.includes('*'))"""
CELL = '.jp-CodeCell:has(.widget-slider)'
FIGURE = '.jupyter-widgets img'
# JupyterLab shows a traceback as standard error, in a cell and in the output of a widget's callback alike.
ERRORS = r"""[...document.querySelectorAll('[data-mime-type$="stderr"], [data-mime-type$="error"]')]
  .map(output => output.innerText.trim()).filter(text => /Traceback|Error/.test(text))"""
MOVED = f'''([cell, which, figure, old]) =>
  (document.querySelectorAll(cell)[which]?.querySelector(figure)?.src ?? old) !== old || {ERRORS}.length'''


def copy_notebook(path: Path, folder: Path) -> Path:
    "`path` as somebody opens it the first time: nothing run yet, and without the cells that nbdev_test leaves out"
    notebook = read(path)
    notebook['metadata'].pop('widgets', None)
    notebook['cells'] = [cell for cell in notebook['cells'] if source(cell).strip() and not left_out(source(cell))]
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code': cell['outputs'] = []
    copy = folder/path.name
    copy.write_text(json.dumps(notebook))
    return copy


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def lab_environment(home: Path) -> dict[str, str]:
    "Settings of its own, so that nobody's JupyterLab is touched; every cell is drawn, not only those in view"
    tracker = home/'settings'/'@jupyterlab'/'notebook-extension'/'tracker.jupyterlab-settings'
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')
    return dict(os.environ, PYTHONPATH=str(ROOT), JUPYTER_CONFIG_DIR=f'{home}/config', JUPYTER_DATA_DIR=f'{home}/data',
                JUPYTER_RUNTIME_DIR=f'{home}/run', JUPYTERLAB_SETTINGS_DIR=f'{home}/settings',
                JUPYTERLAB_WORKSPACES_DIR=f'{home}/workspaces', VIRTUAL_ENV=sys.prefix)


def wait_for(url: str, process: subprocess.Popen, seconds: float = 120.) -> None:
    "Return once the server answers"
    end = time.time() + seconds
    while time.time() < end and process.poll() is None:
        try: urllib.request.urlopen(f'{url}/api/status', timeout=5); return
        except OSError: time.sleep(.25)
    raise RuntimeError(f'JupyterLab did not answer in {seconds:g} s (exit status {process.poll()})')


@contextmanager
def jupyter_lab(folder: Path, home: Path) -> Iterator[str]:
    "The address of a JupyterLab over `folder`, open to this machine only"
    port = free_port()
    options = ['--no-browser', '--ip=127.0.0.1', f'--port={port}', '--allow-root', f'--ServerApp.root_dir={folder}',
               '--IdentityProvider.token=', '--ServerApp.disable_check_xsrf=True', '--LabApp.news_url=None',
               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--log-level=ERROR']
    with open(home/'log', 'w') as log:
        process = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *options], env=lab_environment(home),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(url := f'http://127.0.0.1:{port}', process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def chromium_page() -> Iterator:
    "An empty page in a headless Chromium"
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        page = browser.new_page(viewport={'width': 1300, 'height': 1500})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def idle(page) -> None:
    "Wait until nothing has run for a second and a half; `AssertionError` if a cell failed"
    page.wait_for_function(IDLE, timeout=PATIENCE)
    page.wait_for_timeout(1500)
    page.wait_for_function(IDLE, timeout=PATIENCE)
    if errors := page.evaluate(ERRORS): raise AssertionError('\n'.join(errors))


def open_and_run(page, address: str) -> None:
    "Open a notebook and choose Run All Cells from the menu; a click before the kernel is up would be lost"
    page.goto(f'{address}?reset')
    page.wait_for_selector('.jp-Notebook .jp-CodeCell')
    idle(page)
    page.locator('.lm-MenuBar-item', has_text=re.compile('^Run$')).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    idle(page)


@dataclass
class Slider:
    "The first slider of a cell, and the figure that it moves"
    page: object
    which: int = 0  # of the cells that have sliders

    def __post_init__(self):
        self.cell = self.page.locator(CELL).nth(self.which)
        self.box = self.cell.locator('.widget-slider').first
        self.box.scroll_into_view_if_needed()
        self.handle, self.readout = self.box.locator('.noUi-handle'), self.box.locator('.widget-readout')

    def figure(self) -> str: return self.cell.locator(FIGURE).first.get_attribute('src')

    def value(self) -> float: return float(self.readout.inner_text().replace(',', '').replace('−', '-'))

    def limits(self) -> tuple[float, float]:
        return tuple(float(self.handle.get_attribute(f'aria-value{end}')) for end in ('min', 'max'))

    def nudge(self) -> str:
        "Press an arrow key a few times, away from the nearer end; returns the new figure"
        (low, high), old = self.limits(), self.figure()
        key = 'ArrowLeft' if self.value() > (low + high)/2 else 'ArrowRight'
        self.handle.focus()
        for _ in range(5): self.page.keyboard.press(key)
        return self.redrawn(old)

    def enter(self) -> str:
        "Type a value a quarter of the range away from the end that is farther off; returns the new figure"
        (low, high), old = self.limits(), self.figure()
        value = low + (high - low)*(.25 if self.value() > (low + high)/2 else .75)
        text = f'{value:g}' if '.' in self.readout.inner_text() else f'{value:.0f}'
        self.readout.click()
        self.page.keyboard.press('Control+A')
        self.page.keyboard.type(text)
        self.page.keyboard.press('Enter')
        return self.redrawn(old)

    def redrawn(self, old: str) -> str:
        "Wait for a figure other than `old` (or an error), and for the last of several redraws"
        self.page.wait_for_function(MOVED, arg=[CELL, self.which, FIGURE, old], timeout=PATIENCE)
        idle(self.page)
        return self.figure()
