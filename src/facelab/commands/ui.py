"""The command `facelab ui`: serve MLflow's page of a store."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from facelab.config.build import build
from facelab.tracking import Store


@dataclass(frozen=True)
class Page:
    """The root of the `ui` config.

    Args:
        tracking: the store to show.
        host: address to listen on; the page has no password, so keep it local.
        port: port to listen on.
    """

    tracking: Store
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 5000


def serve(config: Mapping[str, Any]) -> None:
    """Serve until Ctrl-C, or until the terminal closes.

    Args:
        config: a checked config of `Page`.

    Raises:
        ConfigError: there is no store.
        TrackingError: the store cannot be used.
        SystemExit: the server exited with an error, for instance because the port is in use.
    """
    page = Page(**build(config))
    page.tracking.refuse_missing()
    _, experiment_id = page.tracking.open()
    command = page.tracking.ui_command(page.host, page.port)
    if command is None:
        print(f"The page is served by the tracking server: {page.tracking.uri}")
        return
    # Without the workflow type, MLflow opens its tools for language models.
    place = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    address = f"http://{page.host}:{page.port}/{place}"
    print(f"MLflow's page: {address}   (Ctrl-C ends it)", flush=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # unused features
        start_new_session=True,  # keeps Ctrl-C from MLflow, which would print tracebacks
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores that the terminal closes
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        status = server.wait()
    except KeyboardInterrupt:
        _end(server)
        return
    if status:
        raise SystemExit(status)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Terminate a process and its children."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
