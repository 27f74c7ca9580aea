"""The server beside plugins that hang, crash and fail while they are inspected."""

from plugin_sites import NODE, install
from serving import PLANT, flow, until

SEGV = "import ctypes\nctypes.string_at(0)\n"


def twice(plugin):
    return {"workflow": flow("n", n={"type": f"{plugin}/Twice", "version": 1, "inputs": {"a": 4}})}


def plugins(server):
    return {record["plugin"]: (record["status"], record["error"]) for record in server.get("plugins")["plugins"]}


def test_jobs_run_beside_a_plugin_that_hangs_and_one_that_crashes(own_server, tmp_path):
    gate = tmp_path / "gate"
    hang = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    for plugin, code in (("hangs", hang + NODE), ("maths", NODE), ("crashes", SEGV)):
        install(tmp_path, plugin, code)
    server = own_server(PYTHONPATH=f"{PLANT}:{tmp_path}", LATENTLOOM_PLUGIN_SECONDS="600")

    until(lambda: server.get("system")["inspecting"] == ["hangs"], server.log)

    assert server.wait(server.order(twice("maths")))["state"] == "done"
    status, ready, _ = server.request("GET", "/readyz")
    assert (status, ready["checks"]["plugins"]) == (200, True)
    assert "jobs that need these plugins wait for their inspection: hangs" in ready["warnings"]
    status, refused, headers = server.request("POST", "jobs", twice("hangs"))
    assert (status, refused["code"], headers["Retry-After"]) == (503, "starting", "2")
    assert refused["problems"][0]["message"] == "the workflow may need a plugin that is being inspected: hangs"
    status, refused, _ = server.request("POST", "jobs", twice("crashes"))
    assert (status, refused["problems"][0]["code"]) == (422, "unknown_node_type")
    failed = ("failed", "its import crashed: SIGSEGV")
    assert plugins(server) | {"hangs": ("not inspected", None), "crashes": failed} == plugins(server)

    gate.touch()
    server.until_ready()

    assert server.wait(server.order(twice("hangs")))["state"] == "done"
    assert all(worker["starts"] > 1 for worker in server.get("system")["workers"])
    assert "is started again with what is installed now" in server.log()
    assert "the plugin 'crashes' (dist-crashes 1.0) failed: its import crashed: SIGSEGV" in server.log()
    assert server.stop() == 0
