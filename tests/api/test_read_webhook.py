"""Webhook calls as a receiving program reads them, signed as the server signs."""

import base64

import pytest

from latentloom.api import wire
from latentloom.api.client import WebhookError, read_webhook
from latentloom.engine.settings import load_settings
from latentloom.web.webhooks import Permission

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
NOW = 1_800_000_000
JOB = wire.Job(
    id="j", state="done", name="n", priority=0, owner="local", tags=[], device=False, retry_of=None, webhook=None,
    created=1.0, started=2.0, finished=3.0, attempt=1, deaths=0, outputs=None, result={}, problems=[], files=None,
)  # fmt: skip
BODY = wire.WebhookMessage(type="job.done", timestamp="2027-01-15T08:00:00Z", data=JOB).model_dump_json().encode()


def headers(tmp_path, body=BODY, at=NOW):
    permission = Permission(load_settings({"webhook_secret": SECRET}, {"LATENTLOOM_HOME": str(tmp_path)}))
    return {
        "Webhook-Id": "job_j",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,AAAA {permission.signature('job_j', at, body)}",
    }


def test_a_call_of_the_server_is_read(tmp_path):
    message = read_webhook(SECRET, headers(tmp_path), BODY, clock=lambda: NOW + 299)

    assert (message.type, message.data) == ("job.done", JOB)


@pytest.mark.parametrize(
    ("secret", "change", "body", "now", "text"),
    [
        (OTHER, {}, BODY, NOW, "not signed with this secret"),
        (SECRET, {}, BODY + b" ", NOW, "not signed with this secret"),
        (SECRET, {"Webhook-Id": "job_k"}, BODY, NOW, "not signed with this secret"),
        (SECRET, {"webhook-timestamp": "1"}, BODY, NOW, "not signed with this secret"),
        (SECRET, {"webhook-signature": ""}, BODY, NOW, "not signed with this secret"),
        (SECRET, {}, BODY, NOW + 301, "too old"),
        (SECRET, {}, BODY, NOW - 301, "too old"),
        ("whsec_?", {}, BODY, NOW, "not the secret"),
    ],
)
def test_other_calls_are_refused(tmp_path, secret, change, body, now, text):
    with pytest.raises(WebhookError, match=text):
        read_webhook(secret, {**headers(tmp_path), **change}, body, clock=lambda: now)


def test_a_signed_call_of_another_kind_is_refused(tmp_path):
    with pytest.raises(WebhookError, match="not one of a Latentloom server"):
        read_webhook(SECRET, headers(tmp_path, b"{}"), b"{}", clock=lambda: NOW)


def test_without_headers_there_is_no_signature():
    with pytest.raises(WebhookError, match="not signed"):
        read_webhook(SECRET, {}, BODY)
