"""Audit hook: the events that Python itself reports while an input runs (PEP 578).

:func:`begin` is the only entry. A hook stays for the life of the process, whatever
is deleted or replaced afterwards. It records the programs that start, connections,
opened files of the session, and code that no input announced. It refuses ways
around the mode of the session. It is no sandbox, since native code reports nothing.
``OPSAPP_SHELL_AUDIT_HOOK=off`` leaves it out, and a console without it works:
docs/decisions/console.md#the-audit-hook-is-a-witness.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from threading import local
from types import FrameType
from typing import Any
from urllib.parse import unquote

from .. import settings
from ..engine.connections import opening
from ..settings.config import ROOT
from .modes import Mode
from .transcript import Transcript

AT_MOST = 200
"""The number of events recorded of one input; a loop must not fill the disk."""

_RECORDED = {
    "os.system": "program",
    "os.exec": "program",
    "os.posix_spawn": "program",
    "os.spawn": "program",
    "os.startfile": "program",
    "pty.spawn": "program",
    "subprocess.Popen": "program",
    "os.fork": "fork",
    "os.forkpty": "fork",
    "socket.connect": "connection",
    "ctypes.dlopen": "native code",
    "ctypes.dlsym": "native code",
    "ctypes.call_function": "native code",
    "ctypes.cdata/buffer": "native code",
    "ctypes.PyObj_FromPtr": "native code",
    "sys.addaudithook": "hook",
    "sys.settrace": "hook",
    "sys.setprofile": "hook",
    "gc.get_objects": "objects",
    "gc.get_referrers": "objects",
}
_WRITING = frozenset("wax+")
"""The letters of ``open()`` that mean more than reading."""


class Prevented(PermissionError):
    """An event that the hook refused."""


@dataclass(slots=True)
class Watch:
    """The session that the hook watches."""

    transcript: Transcript
    mode: Mode
    database: tuple[str, ...]
    """The files of a SQLite database, absolute; empty for a server."""
    protected: str
    """The folder of the transcripts, absolute."""
    running: bool = False
    announced: bool = False
    """True if the code that is compiled next is on record as an input."""
    compiled: set[int] = field(default_factory=set)
    """The hashes of the inputs that were compiled."""
    count: int = 0
    busy: local = field(default_factory=local)


_watch: Watch | None = None
_is_hooked = False


def is_on() -> bool:
    """Return whether sessions are watched, which ``OPSAPP_SHELL_AUDIT_HOOK=off`` declines."""
    return bool(settings.get("OPSAPP_SHELL_AUDIT_HOOK") != "off")


def begin(watch: Watch) -> None:
    """Watch this session from now on."""
    global _watch, _is_hooked
    _watch = watch
    if not _is_hooked:
        sys.addaudithook(_hook)
        _is_hooked = True


def end() -> None:
    """End the watch; the hook stays and does nothing."""
    global _watch
    _watch = None


def announce(*, nested: bool = False) -> None:
    """Let the input that is on record now be compiled, and watch while it runs."""
    if (watch := _watch) is None:
        return
    watch.announced = watch.running = True
    if not nested:
        watch.count = 0


def rest() -> None:
    """Stop recording until the next input."""
    if (watch := _watch) is not None:
        watch.running = watch.announced = False


def runs_inputs(file: str) -> None:
    """Declare that the code which ``file`` executes is on record as an input."""
    _input_runners.add(file)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    watch = _watch
    if watch is None or getattr(watch.busy, "inside", False):
        return
    look = _LOOKS.get(event)
    if look is None and event not in _RECORDED:
        return
    watch.busy.inside = True
    try:
        if look is not None:
            look(watch, event, args)
        else:
            _record(watch, _RECORDED[event], event, args)
    finally:
        watch.busy.inside = False


def _record(watch: Watch, kind: str, event: str, args: tuple[Any, ...]) -> None:
    """Record an event while an input runs."""
    if not watch.running:
        return
    watch.count += 1
    if watch.count <= AT_MOST:
        arguments = ", ".join(_format(arg) for arg in args[:2])
        watch.transcript.write(kind, f"{event}({arguments})"[:2000])
    elif watch.count == AT_MOST + 1:
        watch.transcript.write("more", f"more than {AT_MOST} things happened in this input")


def _format(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:2000].decode(errors="replace")
    # Only plain values: the repr() of anything else would run the user's code.
    if isinstance(value, str | int | float | None):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_format, value[:50])) + "]"
    return f"<{type(value).__name__}>"


# --- events looked at more closely ----------------------------------------------


def _on_compile(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    source, name = args
    name = _format(name)
    if not isinstance(source, str | bytes):
        return  # The same code once more, parsed.
    if name.startswith("<ipython-input-") or _caller() in _input_runners:
        _note_input(watch, _format(source))
    elif name != "<unknown>" and not _is_by_a_library():
        # <unknown> is what is parsed and not run.
        _record(watch, "code", event, (source, name))


def _note_input(watch: Watch, source: str) -> None:
    digest = hash(source)
    if watch.announced:
        watch.announced = False
        watch.compiled.add(digest)
    elif digest not in watch.compiled:  # A traceback reads the inputs of before once more.
        watch.transcript.write("unannounced", source)


def _on_exec(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    name = getattr(args[0], "co_filename", "")
    if not name.startswith(("<ipython-input-", *_INSTALLED)) and not _is_by_a_library():
        _record(watch, "code", event, (name,))


def _on_load(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    if not _is_by_a_library():
        _record(watch, "code", event, ())


_INSTALLED = (sys.prefix, sys.base_prefix, str(ROOT), "<frozen ")
_input_runners: set[str] = set()
_GENERATES_CODE = re.compile(
    r"^<frozen |/(?:collections/__init__|dataclasses|enum|typing|functools|ast|inspect)\.py$"
    r"|/(?:sqlalchemy|IPython|prompt_toolkit|jedi|parso|pygments|rich|flask|werkzeug|jinja2"
    r"|executing|asttokens|stack_data|pure_eval|traitlets)/"
)


def _is_by_a_library() -> bool:
    """Return whether a library or an import does it, and not the code of an input."""
    file = _caller()
    return file is None or file in _input_runners or _GENERATES_CODE.search(file) is not None


def _caller() -> str | None:
    """Return the file whose code caused the event; None for the interpreter itself."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (inspect is slower by far)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return None if frame is None else frame.f_code.co_filename


def _on_open(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    path, mode, flags = args
    writes = bool(_WRITING & set(mode)) if isinstance(mode, str) else bool((flags or 0) & 3)
    where = _absolute(path)
    if where is None or not writes:
        return
    _protect_transcripts(watch, where)
    if where in watch.database:
        if watch.mode is not Mode.WRITE:
            _refuse(watch, f"opening {where} for writing")
        _record(watch, "file", event, (where, mode))


def _on_file_change(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    folder = next((arg for arg in args[1:] if isinstance(arg, int) and arg >= 0), None)
    for path in args[:1] if event in ("os.remove", "os.chmod", "os.truncate") else args[:2]:
        where = _absolute(path, folder if event == "os.remove" else None)
        if where is not None:
            _protect_transcripts(watch, where)
            if where in watch.database and watch.mode is not Mode.WRITE:
                _refuse(watch, f"{event} of {where}")
    _record(watch, "file", event, args)


def _on_sqlite_connect(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    name = str(args[0]) if isinstance(args[0], PurePath) else args[0]
    if not isinstance(name, str | bytes):  # Its path would run the user's code.
        if watch.mode is not Mode.WRITE:
            _refuse(watch, f"a connection to what {_format(name)} names")
        _record(watch, "database", event, args)
        return
    name = _format(name)
    where = _absolute(_file_of(name))
    is_ours = opening.get()
    # The console's own connections of a session that may not write are read-only.
    may = watch.mode is Mode.WRITE or (is_ours and _READ_ONLY.fullmatch(name) is not None)
    if where in watch.database and not may:
        _refuse(watch, f"a connection of its own to {where}")
    if is_ours:
        return
    _record(watch, "database", event, args)


_READ_ONLY = re.compile(r"file:[^?#]*\?mode=ro")


def _file_of(name: str) -> str:
    """Return the path that SQLite takes from a name, which may be a URI."""
    if not name.startswith("file:"):
        return name
    path = re.split("[?#]", name.removeprefix("file:"), maxsplit=1)[0]
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]  # There may be a host: none, or localhost.
    return unquote(path).partition("\0")[0]


def _on_mail(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    if watch.mode is not Mode.WRITE:
        _refuse(watch, f"mail by way of {_format(args[1])}")
    _record(watch, "mail", event, args[1:])


def _on_rmtree(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    where = _absolute(args[0])
    if where and f"{watch.protected}/".startswith(where.rstrip("/") + "/"):
        _refuse(watch, f"removing {where}")
    _record(watch, "file", event, args)


def _absolute(path: Any, folder: int | None = None) -> str | None:
    """Return the path of a file, also of a descriptor or relative to an open ``folder``."""
    if isinstance(path, int) and not isinstance(path, bool):
        return _of_descriptor(path)
    if folder is not None and isinstance(path, str) and not path.startswith("/"):
        path = f"{_of_descriptor(folder)}/{path}"
    if isinstance(path, PurePath):
        path = str(path)
    if isinstance(path, bytes):
        path = path.decode(errors="replace")
    if not isinstance(path, str) or not path:
        return None
    return str(Path(path).resolve())


def _of_descriptor(number: int) -> str | None:
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink())
    except OSError:
        return None


def _protect_transcripts(watch: Watch, where: str) -> None:
    if where == watch.protected or where.startswith(watch.protected + "/"):
        _refuse(watch, f"changing {where}")


def _refuse(watch: Watch, what: str) -> None:
    watch.transcript.write("refused", what)
    raise Prevented(f"this session may not do that: {what}")


_LOOKS: dict[str, Callable[[Watch, str, tuple[Any, ...]], None]] = {
    "compile": _on_compile,
    "exec": _on_exec,
    "code.__new__": _on_load,
    "marshal.loads": _on_load,
    "pickle.find_class": _on_load,
    "open": _on_open,
    "sqlite3.connect": _on_sqlite_connect,
    "smtplib.connect": _on_mail,
    "shutil.rmtree": _on_rmtree,
    **dict.fromkeys(
        ("os.remove", "os.rename", "os.truncate", "os.chmod", "os.link", "os.symlink"),
        _on_file_change,
    ),
}
