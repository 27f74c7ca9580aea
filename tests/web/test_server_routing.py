"""Routing on a real server: a loaded model is used before another one is loaded."""

from serving import Server


def order(server, name, **inputs):
    return server.order({"workflow_name": name, "inputs": {"steps": 1, "width": 64, "height": 64, **inputs}})


def test_a_job_whose_model_is_loaded_comes_before_one_that_needs_a_load(tmp_path):
    server = Server(tmp_path / "home").until_ready()
    try:
        first = server.wait(order(server, "txt2img", seed=1))
        server.request("PATCH", "queue", {"paused": True})
        other, again = order(server, "flow", seed=1), order(server, "txt2img", seed=2)
        server.request("PATCH", "queue", {"paused": False})

        ended = [first, server.wait(again), server.wait(other)]

        assert [job["state"] for job in ended] == ["done"] * 3
        assert [job["attempt"] for job in ended] == [1, 2, 3]
        figures = server.get("/metrics").decode()
        assert 'latentloom_jobs_routed_total{models="cold"} 2.0' in figures
        assert 'latentloom_jobs_routed_total{models="warm"} 1.0' in figures
    finally:
        server.kill()
