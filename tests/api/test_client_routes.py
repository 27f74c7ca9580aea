"""The methods of the clients against the routes of the API: all are reached, with the parameters that they have."""

import inspect
import io
import re

import pytest
from answering import noting
from PIL import Image
from serving import Server, flow, until, use

from latentloom.api import AsyncClient, Client
from latentloom.api.client import ServerError
from latentloom.web.app import route_table
from latentloom.web.openapi import document

API = "/api/v1"
NOT_FOR_CLIENTS = {
    "/": "the editor's page",
    "/app/{name}": "the page of a workflow",
    "/assets/{asset}": "the editor's files",
    f"{API}/login": "a browser's cookie; clients send their token with each request",
    f"{API}/logout": "a browser's cookie",
    f"{API}/outputs/zip": "a browser's download of several files; clients fetch each",
    f"{API}/docs": "a page for people",
    f"{API}/openapi.json": "a document for generators of clients",
    "/healthz": "for what watches a process; `system` tells clients more",
    "/livez": "for what restarts a process",
    "/readyz": "for what distributes requests; clients wait for a server that is not ready",
    "/metrics": "for Prometheus",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("routes") / "home").until_ready()
    yield made
    made.kill()


def png(level: int = 9) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(out, "PNG")
    return out.getvalue()


def plants(level: float = 0.5):
    made = flow("p.image", p=use("Picture", level=level))
    made["inputs"] = [{"name": "level", "to": [{"node": "p", "input": "level"}]}]
    return made


def workflows(client):
    first = client.save_workflow("plants", plants(), based_on=0)
    second = client.save_workflow("plants", plants(0.25), based_on=first.version)
    with pytest.raises(ServerError) as caught:
        client.save_workflow("plants", plants(0.75), based_on=first.version)
    assert caught.value.status == 412
    assert (first.version, second.version, client.save_workflow("plants", plants(0.75)).version) == (1, 2, 3)
    assert [one.version for one in client.versions("plants")] == [3, 2, 1]
    assert "plants" in [one.name for one in client.workflows()]
    assert client.workflow("plants", 1).workflow["nodes"]["p"]["inputs"] == {"level": 0.5}
    difference = client.compare(client.workflow("plants", 1).workflow, client.workflow("plants").workflow)
    assert [change.inputs[0].after for change in difference.changed] == [0.75]
    assert [one.name for one in client.validate(workflow_name="plants", level=2).inputs] == ["level"]
    assert client.validate(plants(), level=[]).problems[0].code == "wrong_type"
    assert client.explain(plants(0.125), outputs=["p"])[0].status in ("run", "hit")
    client.remove_workflow("plants", based_on=3)


def drafts(client):
    draft = client.save_draft("d1", {"name": "half"}, based_on=0)
    assert (draft.revision, client.draft("d1").workflow) == (1, {"name": "half"})
    assert [one.id for one in client.drafts()] == ["d1"]
    client.remove_draft("d1", based_on=1)
    assert client.drafts() == []


def batches(client):
    batch = client.batch(plants(), axes={"level": [0.25, 0.5]}, tags=["mine"])
    assert client.wait_batch(batch.id).counts["done"] == 2
    assert [one.id for one in client.batches(limit=1, name=batch.name).batches] == [batch.id]
    table = client.cells(batch.id, limit=1)
    assert ([cell.inputs for cell in table.cells], table.next) == ([{"level": 0.25}], 0)
    assert client.batch_csv(batch.id).splitlines()[0].startswith("level,place,state")
    for act in (lambda: client.retry_batch(batch.id), lambda: client.batch_sheet("none")):
        with pytest.raises(ServerError):
            act()
    assert client.cancel_batch(batch.id).state == "done"


def jobs(client):
    client.pause()
    one, two = (client.submit(flow("s", s=use("Steps", steps=n))) for n in (1, 2))
    assert client.move(two.id, "front").state == "queued"
    assert client.queue().waiting[:2] == [two.id, one.id]
    assert client.move(two.id, before=one.id).id == two.id
    events = client.stream(one.id)
    assert next(events)["event"] == "job_queued"
    assert sorted(client.cancel_all()) == sorted([one.id, two.id])
    assert [event["event"] for event in events][-1] == "job_cancelled"
    again = client.retry(one.id)
    client.cancel(again.id)
    client.pause(False)
    assert client.job_workflow(one.id)["nodes"]["s"]["inputs"]["steps"] == 1
    assert {job.id for job in client.jobs(state="cancelled").jobs} >= {one.id, two.id, again.id}
    page = client.events(job=one.id, wait=1)
    assert page.events[0]["event"] == "job_queued"
    assert client.events(page.next, job=one.id, stream=page.stream).events == []


def pictures(client, folder):
    stored = client.upload(png())
    (folder / "red.png").write_bytes(png())
    assert client.upload(folder / "red.png") == stored
    assert (client.files(), client.file(stored.name)) == ([stored.name], png())
    client.remove_file(stored.name)
    assert client.files() == []
    with pytest.raises(ServerError) as caught:
        client.upload(b"text")
    assert caught.value.problems[0].code == "bad_file"
    assert client.read_workflow(b"PLANT").report == "a leaf"
    job = client.submit(flow("", s=use("SavePicture")), tags=["tour"], wait=60)
    file = client.search(tag="tour", job=job.id).outputs[0]
    assert client.output(file.sha256) == file
    assert client.content(file.sha256).startswith(b"\x89PNG")
    assert client.thumbnail(file.sha256)[8:12] == b"WEBP"
    assert client.making(file.sha256).workflow["nodes"]["s"]["type"] == "plant/SavePicture"
    (tagged,) = client.tag_outputs([file.sha256], add=["best", "old"], remove=["old"])
    assert "best" in tagged.tags and "old" not in tagged.tags
    assert [gone.sha256 for gone in client.remove_outputs([file.sha256])] == [file.sha256]
    assert client.search(tag="tour").outputs == []
    again = client.submit(flow("", s=use("SavePicture")), tags=["again"], wait=60)
    client.remove_output(client.search(job=again.id).outputs[0].sha256)
    assert client.search(tag="again").outputs == []


def models(client):
    assert "shapes" in [model.name for model in client.models()]
    assert client.model_facts("shapes").defaults.width == 128
    operation = client.hash_model("shapes")
    assert len(until(lambda: client.operation(operation.id).result)["sha256"]) == 64
    assert client.tokenize("a red star", "shapes").parts[0].tokens
    assert "euler" in client.choices("samplers")
    assert "KSampler" in [node.type for node in client.nodes().nodes]
    assert "plant" in [plugin.plugin for plugin in client.plugins()]
    assert not client.system().paused


@pytest.mark.timeout(240)
def test_clients_reach_every_route(server, tmp_path):
    with noting(server.address) as (address, noted), Client(address) as client:
        workflows(client)
        drafts(client)
        batches(client)
        jobs(client)
        pictures(client, tmp_path)
        models(client)

    paths = document(route_table())["paths"]
    asked = {(method, template) for method, path in noted for template in paths if _matches(template, path)}
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert sorted(routes - asked - {route for route in routes if route[1] in NOT_FOR_CLIENTS}) == []
    assert NOT_FOR_CLIENTS.keys() <= paths.keys()


def _matches(template: str, path: str) -> bool:
    """Whether a path is that of a route; a file's name may hold slashes. A literal part goes before a named one."""
    literal = path in ("/api/v1/models/facts", "/api/v1/models/hash", "/api/v1/events/socket")
    pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)).replace("files/[^/]+", "files/.+")
    return template == path if literal else re.fullmatch(pattern, path) is not None


def public(client: type) -> set[str]:
    return {name for name in dir(client) if not name.startswith("_")}


def test_the_blocking_client_has_the_methods_of_the_other_one():
    assert public(Client) == public(AsyncClient)
    for name in public(Client) - {"close", "stream"}:
        method = getattr(Client, name)
        assert (method.__doc__, inspect.signature(method)) == (
            getattr(AsyncClient, name).__doc__,
            inspect.signature(getattr(AsyncClient, name)),
        )


@pytest.mark.parametrize(
    ("method", "route"),
    [("jobs", "jobs"), ("search", "outputs"), ("events", "events"), ("model_facts", "models/facts")],
)
def test_methods_take_the_parameters_of_their_routes(method, route):
    parameters = document(route_table())["paths"][f"{API}/{route}"]["get"]["parameters"]
    taken = inspect.signature(getattr(AsyncClient, method)).parameters.keys() - {"self"}

    assert taken == {item["name"] for item in parameters if item["in"] == "query"}


def test_submit_takes_the_fields_of_an_order():
    schema = document(route_table())["components"]["schemas"]["JobOrder"]
    taken = inspect.signature(AsyncClient.submit).parameters.keys() - {"self", "named", "wait"}

    assert taken == schema["properties"].keys()
