"""The person who commissions: told, asked, and never waited for by the devices."""

import asyncio
import os
import pwd
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

import typer

_Answer = TypeVar("_Answer")


class Person(Protocol):
    """Whoever answers. Calls may take as long as they like."""

    def tell(self, text: str) -> None:
        """Say something."""
        ...

    def confirm(self, text: str) -> bool:
        """Whether to go ahead; no is the default."""
        ...

    def ask(self, text: str) -> str:
        """An answer in words; empty when it is not known."""
        ...


class Terminal:
    """A person at the terminal.

    Args:
        yes: Go ahead without asking; questions stay without an answer.
    """

    def __init__(self, yes: bool) -> None:
        self._yes = yes

    def tell(self, text: str) -> None:
        typer.echo(text)

    def confirm(self, text: str) -> bool:
        if self._yes:
            typer.echo(f"{text}\n  yes (--yes)")
            return True
        return typer.confirm(f"{text}\n  Go ahead?", default=False)

    def ask(self, text: str) -> str:
        if self._yes:
            return ""
        answer: str = typer.prompt(text, default="", show_default=False)
        return answer.strip()


def user() -> str:
    """Who runs this process, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


async def answered(question: Callable[[], _Answer]) -> _Answer:
    """The answer to a question that blocks.

    The thread is no worker of the event loop: nobody waits for it when Ctrl-C ends the
    program while the question stands.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Answer] = loop.create_future()

    def put(result: _Answer | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result = question()
        except (typer.Abort, OSError, EOFError):
            error = Aborted("nobody answers")
            loop.call_soon_threadsafe(put, None, error)
        else:
            loop.call_soon_threadsafe(put, result, None)

    threading.Thread(target=run, daemon=True, name="question").start()
    return await future


class Aborted(Exception):
    """An active step was ended before its time; says why."""
