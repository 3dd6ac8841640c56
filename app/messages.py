"""Sentences to people: errors as messages instead of tracebacks, and text that shows strangers' words letter by letter."""

from __future__ import annotations

import html
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import gradio as gr

from vpt_core.errors import UserError

log = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Any])


def shows_user_errors(handler: Handler) -> Handler:
    """Decorator of event handlers, generators among them: whatever they raise reaches the person as a message.

    A `UserError` is shown as it is. Anything else is a bug: the log gets its traceback under a short code, the person
    gets the code. Toasts render HTML, so the text is escaped.
    """
    if inspect.isgeneratorfunction(handler):

        @wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _shown():
                yield from handler(*args, **kwargs)

        return generator  # type: ignore[return-value]

    @wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        with _shown():
            return handler(*args, **kwargs)

    return function  # type: ignore[return-value]


@contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except UserError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error
    except Exception as error:
        code = secrets.token_hex(2).upper()
        log.exception("unexpected error %s", code)
        message = f"Something went wrong (code {code}). What you made is still here; please try again."
        raise gr.Error(message, print_exception=False) from error


def sentence(text: str = "", *, css: str = "", **rest: Any) -> gr.HTML:
    """A paragraph whose value is text, never markup. `css` is a class of assets/style.css; `rest` goes to `gr.HTML`."""
    return gr.HTML(text, html_template="<p>{{value}}</p>", elem_classes=[css] if css else [], **rest)
