"""Reads webhook calls of a server, for programs that receive them. The format is that of standardwebhooks.com."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from latentloom.api.wire import WebhookMessage
from latentloom.engine.errors import LoomError

PREFIX = "whsec_"
VERSION = "v1,"
TOLERANCE = 300.0  # seconds: an older call may be a repeated one of somebody else


class WebhookError(LoomError):
    """A call is not from the server with this secret, or too old."""

    code = "bad_webhook"


def read_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, *, clock: Callable[[], float] = time.time
) -> WebhookMessage:
    """Check the signature and the time of a call, and return its message. `body` is the body as it was received.

    Calls with the same `webhook-id` are tries of the same call. Raises WebhookError.
    """
    found = {name.lower(): value for name, value in headers.items()}
    id, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    signed = f"{id}.{timestamp}.".encode() + body
    expected = VERSION + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()
    given = found.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(one.encode(), expected.encode()) for one in given):
        raise WebhookError("the call is not signed with this secret", hint="compare `webhook_secret` of the server")
    if abs(clock() - float(timestamp)) > TOLERANCE:
        raise WebhookError("the call is too old", expected=f"at most {TOLERANCE:.0f} seconds", got=timestamp)
    try:
        return WebhookMessage.model_validate_json(body)
    except ValidationError:
        raise WebhookError("the call is not one of a Latentloom server") from None


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise WebhookError(
            "that is not the secret of webhooks", expected=f"{PREFIX} and random bytes in base64"
        ) from None
