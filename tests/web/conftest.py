import pytest
from serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that the tests of a module share."""
    made = Server(tmp_path_factory.mktemp("serve") / "home", LATENTLOOM_CANCEL_SECONDS="60")
    yield made.until_ready()
    assert made.stop() == 0, made.log()


@pytest.fixture
def own_server(tmp_path):
    """A function that starts a server for one test."""
    made = []

    def start(*flags, **environment):
        made.append(Server(tmp_path / "home", *flags, **environment))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.kill()
