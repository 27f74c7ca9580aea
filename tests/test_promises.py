import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_promise_names_tests_that_exist():
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (R\d+) .*\| (.*) \|$", page, re.MULTILINE)
    named = [(row, test) for row, tests in rows for test in re.findall(r"`(\w+)`", tests)]

    assert len(rows) >= 14
    assert all(tests for _, tests in rows)
    assert [pair for pair in named if not re.search(rf"\b{pair[1]}\b( =|\()", sources)] == []
