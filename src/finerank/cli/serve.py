"""`finerank serve`: the HTTP API and the page."""

import threading
import webbrowser
from functools import partial
from typing import Annotated

import typer

from finerank.cli import options
from finerank.errors import FinerankError, InvalidSetting, MissingExtra
from finerank.settings import ServeSettings, Settings, split_list

_flag = partial(options.flag, of=ServeSettings)


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else split_list(text)


def serve(
    model: options.Model = None,
    host: Annotated[str | None, _flag("host")] = None,
    port: Annotated[int | None, _flag("port", "--port", "-p")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    more_models: Annotated[str | None, _flag("more_models")] = None,
    served_model_name: Annotated[str | None, _flag("served_model_name")] = None,
    store: Annotated[str | None, _flag("store")] = None,
    api_keys_file: Annotated[str | None, _flag("api_keys_file")] = None,
    admin_keys_file: Annotated[str | None, _flag("admin_keys_file")] = None,
    auth: Annotated[str | None, _flag("auth")] = None,
    cors_origins: Annotated[str | None, _flag("cors_origins")] = None,
    allowed_hosts: Annotated[str | None, _flag("allowed_hosts")] = None,
    max_body_mb: Annotated[int | None, _flag("max_body_mb")] = None,
    max_documents: Annotated[int | None, _flag("max_documents")] = None,
    max_request_tokens: Annotated[int | None, _flag("max_request_tokens")] = None,
    max_queue_tokens: Annotated[int | None, _flag("max_queue_tokens")] = None,
    max_requests: Annotated[int | None, _flag("max_requests")] = None,
    max_connections: Annotated[int | None, _flag("max_connections")] = None,
    max_peer_connections: Annotated[int | None, _flag("max_peer_connections")] = None,
    timeout_s: Annotated[float | None, _flag("timeout_s")] = None,
    header_timeout_s: Annotated[float | None, _flag("header_timeout_s")] = None,
    body_timeout_s: Annotated[float | None, _flag("body_timeout_s")] = None,
    write_timeout_s: Annotated[float | None, _flag("write_timeout_s")] = None,
    shutdown_s: Annotated[float | None, _flag("shutdown_s")] = None,
    idle_unload_s: Annotated[float | None, _flag("idle_unload_s")] = None,
    fail_open: Annotated[bool | None, _flag("fail_open", "--fail-open")] = None,
    log_format: Annotated[str | None, _flag("log_format")] = None,
    log_text: Annotated[bool | None, _flag("log_text", "--log-text")] = None,
    state_dir: Annotated[str | None, _flag("state_dir")] = None,
    health_window_s: Annotated[float | None, _flag("health_window_s")] = None,
    low_score: Annotated[float | None, _flag("low_score")] = None,
    alert_webhook: Annotated[str | None, _flag("alert_webhook")] = None,
    revision: options.Revision = None,
    backend: options.Backend = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    fallback: options.Fallback = None,
    threads: options.Threads = None,
    max_length: options.MaxLength = None,
    batch_tokens: options.BatchTokens = None,
    deterministic: options.Deterministic = None,
    effort: options.Effort = None,
    first_model: options.FirstModel = None,
    threshold: options.Threshold = None,
    calibration: options.Calibration = None,
    template: options.Template = None,
    long_documents: options.LongDocuments = None,
    chunk_overlap: options.ChunkOverlap = None,
    pooling: options.Pooling = None,
    clean: options.Clean = None,
    cache: options.Cache = None,
    cache_entries: options.CacheEntries = None,
    passage_cache_mb: options.PassageCacheMb = None,
) -> None:
    """Serve a model: the APIs of Cohere, Jina, Voyage, TEI, infinity, vLLM and others, and a page at /."""
    try:
        from finerank.scoring.model_files import check_name
        from finerank.serving.log import open_log
        from finerank.serving.server import Server
    except ImportError as error:
        raise MissingExtra("serving", "serve") from error
    serving = ServeSettings.load(
        host=host,
        port=port,
        more_models=_list(more_models),
        served_model_name=_list(served_model_name),
        store=store,
        api_keys_file=api_keys_file,
        admin_keys_file=admin_keys_file,
        auth=auth,
        cors_origins=_list(cors_origins),
        allowed_hosts=_list(allowed_hosts),
        max_body_mb=max_body_mb,
        max_documents=max_documents,
        max_request_tokens=max_request_tokens,
        max_queue_tokens=max_queue_tokens,
        max_requests=max_requests,
        max_connections=max_connections,
        max_peer_connections=max_peer_connections,
        timeout_s=timeout_s,
        header_timeout_s=header_timeout_s,
        body_timeout_s=body_timeout_s,
        write_timeout_s=write_timeout_s,
        shutdown_s=shutdown_s,
        idle_unload_s=idle_unload_s,
        fail_open=fail_open,
        log_format=log_format,
        log_text=log_text,
        state_dir=state_dir,
        health_window_s=health_window_s,
        low_score=low_score,
        alert_webhook=alert_webhook,
    )
    engine = {
        "revision": revision,
        "backend": backend,
        "device": device,
        "dtype": dtype,
        "fallback": fallback,
        "threads": threads,
        "max_length": max_length,
        "batch_tokens": batch_tokens,
        "deterministic": deterministic,
        "effort": effort,
        "first_model": first_model,
        "threshold": threshold,
        "calibration": calibration,
        "template": template,
        "long_documents": long_documents,
        "chunk_overlap": chunk_overlap,
        "pooling": pooling,
        "clean": clean,
        "cache": cache,
        "cache_entries": cache_entries,
        "passage_cache_mb": passage_cache_mb,
    }
    name = Settings.load(model=model, **engine).model
    for each in (name, *serving.more_models):
        check_name(each)
    try:
        server = Server(name, lambda name: options.load_reranker(name, **engine), serving)
    except InvalidSetting as error:  # no wrong value: a port that is taken, a missing key
        raise FinerankError(str(error)) from error
    open_log(serving.log_format)
    if open_page:
        threading.Timer(0.5, webbrowser.open, [server.url]).start()
    server.run()
