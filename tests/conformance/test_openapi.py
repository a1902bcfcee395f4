"""The published description and the route table say the same."""

import httpx
import yaml
from support.server import Server


def test_every_described_route_exists(server: Server) -> None:
    described = yaml.safe_load(httpx.get(f"{server.url}/openapi.yaml").text)
    assert len(described["paths"]) >= 20
    for path, operations in described["paths"].items():
        for method in operations.keys() - {"parameters"}:
            absent = path.replace("{name}", "absent").replace("{id}", "absent")
            absent = absent.replace("{digest}", "0" * 64)
            reply = httpx.request(method, server.url + absent)
            assert reply.status_code != 405, (method, path)
            if reply.status_code == 404:
                answer = reply.json().get("body", reply.json())  # invoke answers in an envelope
                kinds = ("admin", "jobs", "responses", "webhook-endpoints", "files", "batches")
                others = tuple(f"/v1/{kind}/" for kind in kinds)
                code = "not_found" if path.startswith(others) else "model_not_found"
                assert answer["error"]["code"] == code, (method, path, reply.text)
                assert "There is no route" not in answer["error"]["message"], (method, path)
