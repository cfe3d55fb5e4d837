"""Traces from the client through the server's models, and the request's one id."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.server import TritonServer
from tsfd_client import AsyncClient, Client, ServerError, Settings

MODELS = {"nuclei_segmentation", "tsfd_net", "nuclei_postprocess"}


class Collector(ThreadingHTTPServer):
    """Where Triton sends its spans, as an OpenTelemetry collector takes them."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in content["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        spans.extend(scope["spans"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def recorded() -> Iterator[InMemorySpanExporter]:
    """Spans of this process; a program sets its provider once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture(autouse=True)
def _forget(recorded: InMemorySpanExporter) -> None:
    recorded.clear()


def named(spans: tuple[ReadableSpan, ...], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def test_a_trace_goes_from_the_client_through_the_models(
    repository: Path,
    tmp_path: Path,
    collector: Collector,
    recorded: InMemorySpanExporter,
    patches: np.ndarray,
) -> None:
    """And the request's id with it."""
    with (
        TritonServer(repository, traces=collector.url, log_path=tmp_path / "log") as server,
        Client(server.grpc_url, batch_size=1) as client,
    ):
        client.segment(np.hstack(patches[:16]))
    # Triton sends what it has when it ends.
    spans = recorded.get_finished_spans()
    (whole,) = named(spans, "segment")
    requests = named(spans, "segment_tiles")
    assert len(requests) > 1
    assert {span.parent.span_id for span in requests} == {whole.context.span_id}
    known = {f"{request.context.span_id:016x}": request for request in requests}
    entries = [span for span in collector.spans if span["name"] == "InferRequest"]
    followed = [entry for entry in entries if entry.get("parentSpanId") in known]
    assert len(entries) == len(requests)
    assert followed  # Triton 2.51 overlooks the contexts of many
    for entry in followed:
        request = known[entry["parentSpanId"]]
        children = below(entry, collector.spans)
        ids = {attributes(span).get("triton.request_id") for span in children}
        assert ids - {None} == {request.attributes["tsfd.request_id"]}
        assert {span["name"] for span in children} >= MODELS
        assert {span["traceId"] for span in children} == {f"{request.context.trace_id:032x}"}


def attributes(span: dict) -> dict[str, str]:
    return {a["key"]: a["value"].get("stringValue") for a in span.get("attributes", [])}


def below(parent: dict, spans: list[dict]) -> list[dict]:
    """The spans under another one."""
    children = [span for span in spans if span.get("parentSpanId") == parent["spanId"]]
    return [*children, *(span for child in children for span in below(child, spans))]


def test_asyncio_spans(
    server: TritonServer, recorded: InMemorySpanExporter, patches: np.ndarray
) -> None:
    async def segment() -> None:
        async with AsyncClient(server.grpc_url, batch_size=1) as client:
            await client.segment(np.hstack(patches[:3]))

    asyncio.run(segment())
    spans = recorded.get_finished_spans()
    (whole,) = named(spans, "segment")
    assert {s.parent.span_id for s in named(spans, "segment_tiles")} == {whole.context.span_id}


class Unchecked(Settings):
    """As another client may send them."""

    def __post_init__(self) -> None:
        pass


def test_an_error_names_the_request(
    server: TritonServer, recorded: InMemorySpanExporter, patches: np.ndarray
) -> None:
    """As its span does, which says that it failed."""
    with Client(server.grpc_url) as client, pytest.raises(ServerError) as caught:
        client.segment_tiles(patches[:1], settings=Unchecked(min_area=-1))
    (span,) = recorded.get_finished_spans()
    assert f"refused request {span.attributes['tsfd.request_id']} (" in str(caught.value)
    assert span.status.status_code is trace.StatusCode.ERROR
