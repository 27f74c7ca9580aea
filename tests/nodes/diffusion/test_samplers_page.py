"""docs/samplers.md says of every sampler and schedule what the registry says."""

from pathlib import Path

from latentloom.nodes.diffusion.samplers import SAMPLERS, SCHEDULES

PAGE = (Path(__file__).parents[3] / "docs" / "samplers.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the table below a heading, by the name in the first one."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip("`"): cells[1:] for cells in lines[2:]}


def test_every_sampler_has_a_row_with_its_calls_and_its_noise() -> None:
    facts = {name: (str(info.get("evaluations", 1)), info.get("noise", "none")) for name, _, info in SAMPLERS}
    assert {name: (cells[3], cells[4]) for name, cells in rows("Samplers").items()} == facts
    assert list(rows("Samplers")) == list(facts)


def test_every_schedule_has_a_row() -> None:
    assert list(rows("Schedules")) == list(SCHEDULES)


def test_every_row_names_a_paper_that_the_page_links() -> None:
    papers = {name: cells[1] for name, cells in rows("Samplers").items()}
    papers |= {name: cells[1] for name, cells in rows("Schedules").items()}
    for name, paper in papers.items():
        marks = [part.split("]")[0] for part in paper.split("][")[1:]]
        assert marks, name
        assert all(f"\n[{mark}]: https://" in PAGE for mark in marks), name


def test_the_samplers_that_leave_out_a_sigma_are_named() -> None:
    (sentence,) = [part for part in PAGE.replace("\n", " ").split(". ") if "leave out the smallest sigma" in part]
    names = [name for name, _, info in SAMPLERS if info.get("discard_penultimate")]
    assert sentence.split("`")[1::2] == names
