"""An API of OpenAPI 3.0 whose document is YAML; what it is asked comes back as JSON."""

from __future__ import annotations

import time
from pathlib import Path

from httpd import Answer, Request, as_json, options, serve

DOCUMENT = """
openapi: 3.0.3
info: {title: yaml, version: "1"}
servers: [{url: /v1}]
paths:
  /search/{kind}:
    parameters:
      - {in: path, name: kind, required: true, schema: {type: string}}
    get:
      operationId: search
      summary: Look for something.
      parameters:
        - {in: query, name: filter, style: deepObject, explode: true, schema: {type: object}}
        - {in: query, name: ids, style: pipeDelimited, explode: false, schema: {type: array}}
        - {in: header, name: X-Trace, schema: {type: array, items: {type: integer}}}
        - {in: cookie, name: theme, schema: {type: string, nullable: true, enum: [dark, light]}}
      responses:
        200: {description: what was asked, content: {application/json: {schema: {type: object}}}}
  /nodes:
    post:
      operationId: nodes.add
      requestBody: {$ref: "#/components/requestBodies/Node"}
      responses: {default: {description: "", content: {application/json: {schema: {}}}}}
  /lines:
    get:
      operationId: lines
      responses: {200: {description: "", content: {application/x-ndjson: {}}}}
  /broken:
    get: {operationId: broken, parameters: [{$ref: "other.yaml#/A"}]}
components:
  requestBodies:
    Node:
      required: true
      content: {application/json: {schema: {$ref: "#/components/schemas/Node"}}}
  schemas:
    Node:
      type: object
      required: [id, size]
      properties:
        id: {type: integer, readOnly: true}
        size: {type: integer, minimum: 0, exclusiveMinimum: true, example: 3}
        next: {nullable: true, allOf: [{$ref: "#/components/schemas/Node"}]}
"""


def answer(request: Request) -> Answer:
    if request.path == place:
        return Answer(document.encode(), "application/yaml")
    if request.path == "/v1/lines":
        return Answer(lines(), "application/x-ndjson")
    if not request.path.startswith("/v1/"):
        return Answer(b"<!doctype html><title>all pages are this one</title>", "text/html")
    told = {"method": request.method, "path": request.path, "query": request.query}
    headers = {name: request.headers.get(name) for name in ("x-trace", "cookie")}
    return as_json({**told, **headers, "body": request.body.decode()})


def lines():
    for number in range(3):
        yield b'{"number": %d}\n' % number
        time.sleep(0.02)


parser = options(__doc__)
parser.add_argument("--place", default="/openapi.yaml")
parser.add_argument("--document", type=Path, help="another one, read at the start")
given = parser.parse_args()
place = given.place
document = given.document.read_text() if given.document else DOCUMENT
serve(given.host, given.port, answer)
