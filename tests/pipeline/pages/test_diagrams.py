"""Diagrams in Mermaid's own hands: what it cannot parse, GitHub shows as an error."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

from pipeline.mermaid import draw_bars, draw_curves, draw_lineage

pytestmark = pytest.mark.browser

PACKAGE = "mermaid@11.17.2"
PATIENCE_S = 60
HOSTILE = 'a"] |b `c` <b>\n%% ü → ; ```'
DRAW = """\
mermaid.initialize({startOnLoad: false});
(async () => {
    const faults = [];
    for (const text of DIAGRAMS) {
        faults.push(await mermaid.render("d" + faults.length, text).then(() => "", error => error.message));
    }
    window.faults = faults;
})();
"""


def curves(*values: Any, epochs: tuple[float, ...] = (1, 2)) -> list[str]:
    """Return the charts of a loss."""
    return draw_curves({"x": [{"epoch": e, "train_loss": v} for e, v in zip(epochs, values, strict=True)]})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Mermaid's script, as npm has it."""
    folder = tmp_path_factory.mktemp("mermaid")
    done = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True, check=True)
    subprocess.run(["tar", "xzf", done.stdout.strip(), "package/dist/mermaid.min.js"], cwd=folder, check=True)
    return folder / "package/dist/mermaid.min.js"


def find_faults(browser: Chrome, library: Path, diagrams: list[str]) -> list[str]:
    """Return of each diagram why Mermaid cannot draw it, nothing where it can."""
    page = library.with_name("page.html")
    texts = [diagram.removeprefix("```mermaid\n").removesuffix("```") for diagram in diagrams]
    listed = json.dumps(texts).replace("</", "<\\/")
    page.write_text(f'<body><script src="{library.name}"></script><script>{DRAW.replace("DIAGRAMS", listed)}</script>')
    browser.get(page.as_uri())
    faults: list[str] = WebDriverWait(browser, PATIENCE_S).until(lambda b: b.execute_script("return window.faults"))
    return faults


def test_every_diagram_of_ours_is_one_that_mermaid_draws(browser: Chrome, library: Path) -> None:
    diagrams = [
        *curves(0.5, 0.25),
        *curves(1.0, 1.0),
        *curves(1e-10, -2.5e-7),
        *curves(1e14, 3),
        *curves(1, 2, epochs=(0.5, 123456789)),
        *curves(1, 2, 3, epochs=(1, 2, 10)),
        draw_bars("classes", [("ü as é", 3), ("ü as é", 1)], "samples"),
        draw_lineage([(f"x{place}", stage, f"x{place}", HOSTILE) for place in range(300) for stage in ("a", "b", "c")]),
        *draw_curves({"x": [{"epoch": e, f"valid_{HOSTILE}": 1.0 / e} for e in (1, 2)]}),
        *draw_curves({name: [{"epoch": e, "train_loss": 1.0 / e} for e in (1, 2, 3)] for name in ("x", "common")}),
        draw_bars(HOSTILE, [(HOSTILE, 3), ("", 1), ("8 as 1", 0)], "samples"),
        draw_lineage(
            [("x", "prepare", "common", "inherited"), ("x", "train", "x", "done"), ("x", "evaluate", "x", "")]
        ),
    ]
    assert len(diagrams) == 12
    assert find_faults(browser, library, diagrams) == [""] * len(diagrams)


def test_a_diagram_that_mermaid_cannot_draw_would_be_found(browser: Chrome, library: Path) -> None:
    (chart,) = curves(0.5, 0.25)
    assert "Parse error" in find_faults(browser, library, [chart.replace("0.5,", "1e-10,")])[0]
