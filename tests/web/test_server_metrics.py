"""The metrics: what they count, and that the dashboard, the scrape example and the docs name what a server exports."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from queues import claim_next, new_job, opened
from serving import flow, use

from latentloom.web.metrics import Metrics
from latentloom.web.tokens import MONITORS

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\blatentloom_\w+")
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


def exported(text):
    """The names of all samples that a text of metrics can have, by family as the docs name it."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {family.name + part for part in PARTS[family.type]}
    return {name: parts for name, parts in found.items() if not name.endswith("_created")}


@pytest.fixture(scope="module")
def names(server):
    return exported(server.get("/metrics").decode())


def test_the_dashboard_asks_for_what_the_server_exports(names):
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for text in expressions for name in NAME.findall(text)}

    assert asked - {sample for parts in names.values() for sample in parts} == set()
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 20


def test_the_dashboard_groups_by_labels_that_are_there():
    board = (ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`latentloom.*?) \| (.*?) \|", page, re.MULTILINE)
    labels = {name: set(re.findall(r"`(\w+)`", told)) for cell, told in rows for name in NAME.findall(cell)}

    for expression in (json.loads(f'"{text}"') for text in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', board)):
        used = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        used |= set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression)) - {"instance"}
        for name in NAME.findall(expression):
            family = next(known for known in (name, re.sub(r"_(bucket|sum|count)$", "", name)) if known in labels)
            assert used - {"le"} <= labels[family], expression


def test_the_docs_list_every_metric(names):
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")

    assert set(NAME.findall(page)) == set(names)


def test_the_scrape_example_is_for_a_route_and_a_role_that_are_there(server):
    text = (ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["scrape_configs"]

    assert server.request("GET", job["metrics_path"])[0] == 200
    assert job["authorization"]["type"] == "Bearer"
    assert re.search(r"role `(\w+)`", text)[1] in MONITORS


def figure(server, name):
    lines = server.get("/metrics").decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_failures_count_by_code_and_answers_by_route(server):
    failures, seen = (
        'latentloom_job_failures_total{code="node_failed"}',
        server.wait(server.order({"workflow": flow("c", c=use("Curse"))})),
    )

    assert figure(server, failures.replace("node_failed", seen["problems"][0]["code"])) == 1
    assert figure(server, 'latentloom_request_seconds_count{method="GET",route="/api/v1/jobs/{id}"}') >= 1
    assert figure(server, "latentloom_disk_free_bytes{") > 0


def test_a_client_does_not_choose_labels(server):
    for n, method in enumerate(("PURGE", "REPORT", "MKCOL")):
        server.request(method, f"/nothing/{n}")
        server.request("GET", f"/nothing/{n}")

    text = server.get("/metrics").decode()
    assert [word for word in ("PURGE", "REPORT", "MKCOL", "nothing") if word in text] == []
    assert figure(server, 'latentloom_requests_total{method="other"') == 3
    assert figure(server, 'latentloom_request_seconds_count{method="GET",route="none"}') >= 3


def told(metrics):
    return metrics.text({}, {}, {}, 0, None, 0, {"data": 7}).decode()


def test_webhook_calls_are_counted_and_so_are_those_given_up():
    metrics = Metrics()
    for good, last in ((True, False), (False, False), (False, True), (True, True)):
        metrics.called(good=good, last=last)

    text = told(metrics)
    assert 'latentloom_webhook_calls_total{result="delivered"} 2.0' in text
    assert 'latentloom_webhook_calls_total{result="failed"} 2.0' in text
    assert "latentloom_webhooks_given_up_total 1.0" in text
    assert 'latentloom_disk_free_bytes{folder="data"} 7.0' in text


def test_a_failed_job_counts_under_its_first_code(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    queue.submit(new_job("a"))
    claim = claim_next(queue)
    queue.begin("a", claim.token)
    metrics = Metrics()
    metrics.finished(
        queue.finish("a", claim.token, "failed", {}, [{"code": name, "message": ""} for name in ("one", "two")])
    )
    connection.close()

    assert 'latentloom_job_failures_total{code="one"} 1.0' in told(metrics)


def test_the_memory_of_a_device_is_told_if_it_is_known():
    metrics = Metrics()
    metrics.figures("cuda:0", {"model_bytes": 5, "device_budget": 80, "device_free": 60})
    metrics.figures("cpu", {"model_bytes": 1, "device_budget": 30})

    text = told(metrics)
    assert 'latentloom_device_free_bytes{process="cuda:0"} 60.0' in text
    assert 'latentloom_device_budget_bytes{process="cpu"} 30.0' in text
    assert 'latentloom_device_free_bytes{process="cpu"}' not in text
