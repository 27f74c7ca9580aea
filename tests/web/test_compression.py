"""Answers compressed with gzip."""

import gzip
import json

import pytest

from latentloom.web.compression import accepts_gzip


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True), ("deflate, gzip;q=0.5, br", True), ("*", True), ("GZIP", True), ("gzip;q=1.0", True),
        ("", False), ("identity", False), ("gzip;q=0", False), ("gzip;q=0.000, *", False), ("br;q=1, *;q=0", False),
        ("gzip; q=0", False), ("xgzip", False),
    ],
)  # fmt: skip
def test_who_accepts_gzip(header, accepted):
    assert accepts_gzip(header) is accepted


def test_large_answers_are_compressed_for_those_who_accept_it(server):
    status, plain, plain_headers = server.request("GET", "nodes")
    packed_status, packed, headers = server.request("GET", "nodes", Accept_Encoding="gzip")

    assert (status, packed_status, "Content-Encoding" in plain_headers) == (200, 200, False)
    assert (headers["Content-Encoding"], headers["Vary"], headers["ETag"]) == (
        "gzip", "Accept-Encoding", plain_headers["ETag"],
    )  # fmt: skip
    assert json.loads(gzip.decompress(packed)) == plain
    assert len(packed) == int(headers["Content-Length"]) < int(plain_headers["Content-Length"]) / 4


def test_small_answers_and_files_are_sent_as_they_are(server):
    for path in ("queue", "/assets/nothing.js"):
        assert "Content-Encoding" not in server.request("GET", path, Accept_Encoding="gzip")[2]
