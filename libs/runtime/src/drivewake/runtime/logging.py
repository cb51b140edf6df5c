"""Logs: JSON lines on stdout for machines, a readable form on a terminal.

Every line has `ts, level, service, action, message, trace_id, span_id`; `action` is a
stable verb for machines, `message` is prose. Whatever looks like a secret is masked before
it is written, whoever wrote it: libraries' logs and exceptions' texts too.
"""

import logging
import logging.config
import sys
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from drivewake.runtime.redaction import redact

Format = Literal["auto", "json", "console"]

NOISY = ("nats", "granian", "asyncio", "_granian", "opentelemetry", "httpx", "aiohttp.access")
"""Libraries that are heard from `warning` on only."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("prose", action="verb", field=value)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure(service: str, level: str = "info", format: Format = "auto") -> None:  # noqa: A002
    """Set up all logging of this process; calling again replaces the set-up."""
    console = format == "console" or (format == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _Context(service),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redaction,
    ]
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_last(console),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
        logging.getLogger(name).propagate = True
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is at that moment: it may be replaced or captured."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        del value
        raise AttributeError("it follows sys.stdout")


class _Context:
    """Adds the service, the logger's name as a default action, and the trace."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del method
        event.setdefault("service", self._service)
        if "action" not in event:
            # A library's line: its logger is the best name for what it tells.
            record = event.get("_record")
            event["action"] = record.name if record else getattr(logger, "name", None) or "log"
        span = trace.get_current_span().get_span_context()
        event["trace_id"] = f"{span.trace_id:032x}" if span.is_valid else ""
        event["span_id"] = f"{span.span_id:016x}" if span.is_valid else ""
        return event


def _redaction(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    del logger, method
    kept = {key: event.pop(key) for key in ("_record", "_from_structlog") if key in event}
    clean: dict[str, Any] = redact(event)
    return {**clean, **kept}


def _last(console: bool) -> list[Processor]:
    if console:
        return [
            _without_empty_trace,
            structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=sys.stdout.isatty()),
        ]
    return [
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(sort_keys=True, default=str),
    ]


def _without_empty_trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    del logger, method
    return {k: v for k, v in event.items() if v or k not in {"trace_id", "span_id"}}
