"""The one tree of errors.

Each class carries its wire code, its HTTP status, the sentence for the user and the hint that says
what to do. The sentences are templates keyed by ``code``, filled from keyword arguments, so that
they can be translated without touching the places that raise.

    OneGAIError
    ├── InputError              the request is wrong
    │   ├── NotHttp 400 · SlowRequest 408 · SlowReader 408 · HeadTooLarge 431
    │   ├── BadJson 400 · BadMultipart 400
    │   ├── BodyTooLarge 413 · FileTooLarge 413 · WrongContentType 415
    │   ├── BadRequest 422 · BadArguments 422 · BadRange 416
    │   └── IfMatchMissing 428
    ├── AccessError             the caller may not
    │   ├── Unauthorized 401 · TooManyWrongPasswords 429
    │   ├── ForbiddenOrigin 403 · SignatureRefused 403
    │   └── PathRefused 403 · AddressRefused 403 · RemoteEditOff 403
    ├── NotFoundError           there is no such thing
    │   ├── UnknownRoute 404 · MethodNotAllowed 405
    │   └── UnknownApp 404 · UnknownFunction 404 · UnknownJob 404 · UnknownFile 404
    ├── ConflictError           it exists, but not in a state that allows this
    │   ├── BrokenEntry 409 · BrokenPlugin 409 · Inactive 409 · NoService 409
    │   ├── KeyMissing 409 · SettingMissing 409
    │   ├── NotInstalled 409 · InstallBroken 409 · Installing 409 · NoInstallScript 409
    │   ├── Busy 409 · EntryGone 409 · NotRemovable 409 · JobNotDone 409
    │   ├── PortTaken 409 · Stopped 409 · ShuttingDown 503
    │   ├── UnreadableFile 409 · LostUpdate 412 · EditLocked 503
    │   ├── NotEnoughMemory 503 · NoGpu 503 · TooLarge 409 · KeptInTheWay 409 · Deadlock 409
    │   ├── NoRoomInTime 503 · RestartWithoutRoom 503 · TooManyConnections 503
    │   └── QueueFull 429 · QueueTimeout 503
    ├── AppError                the app's fault: ``src`` is its name
    │   ├── FunctionFailed 500 · InstallFailed 500 · UpdateFailed 500 · UninstallFailed 500
    │   ├── ResultTooLarge 500 · RouteRefused 500 · ExecNotFound 500 · AppChanged 409
    │   ├── ReleaseFailed 502 · ExitedEarly 502 · Died 502 · Unreachable 502 · ErrorAnswer 502
    │   └── NeverReady 504 · CallTimeout 504
    ├── ConfigError             config.json or a start argument; ends the start of the server
    ├── HomeLocked              another OneGAI serves this home; ends the start of the server
    ├── NotWritten 500          a file of the user's could not be replaced
    ├── Relayed 502             what another OneGAI answered, or a job's record says; its own status
    ├── ServerUnreachable 502   no server answers at an address
    ├── NoOneGAI 502            something else than OneGAI answers there
    ├── DiskFull 507            there is no room for a file
    ├── SdkMisuse 500           a func file uses a handle in a way that cannot work
    └── InternalError 500       our own fault
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from pydantic_core import PydanticSerializationError, to_json


class OneGAIError(Exception):
    """Base of all errors that reach a user.

    ``params`` fill the templates ``text``, ``hint``, ``cli_hint`` and ``headers``; ``detail`` is
    added to the envelope's ``detail`` as it is, so it must be JSON-able and free of secrets.
    """

    code: str = "error"
    status: int = 500
    text: ClassVar[str] = "something went wrong"
    hint: ClassVar[str] = ""
    cli_hint: ClassVar[str] = ""
    """The hint on the command line, where that has words of its own for it."""
    headers: ClassVar[Mapping[str, str]] = {}
    """What its HTTP answer says in its head."""

    def __init__(
        self, *, src: str = "onegai", detail: Mapping[str, Any] | None = None, **params: Any
    ) -> None:
        self.src = src
        self.params = params
        self.extra = dict(detail or {})
        super().__init__(self.message)

    def rewrite(self, rewritten: Callable[[str], str]) -> None:
        """Have each text in it be as this makes it."""
        self.params = _each_text(self.params, rewritten)
        self.extra = _each_text(self.extra, rewritten)
        self.args = (self.message,)

    @property
    def message(self) -> str:
        """The sentence for people."""
        return self.text.format_map(self.params)

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.hint.format_map(self.params)

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the same may well pass (the header Retry-After), where known."""
        return self.params.get("retry_after")

    @property
    def detail(self) -> dict[str, Any]:
        """The envelope's ``detail``: code, src, hints and whatever the error adds."""
        found = {"code": self.code, "src": self.src, "hint": self.advice}
        if self.cli_hint:
            found["cli_hint"] = self.cli_hint.format_map(self.params)
        return {**found, **self.extra}

    @property
    def data(self) -> dict[str, Any]:
        """Of the event that tells of it, and of a job that failed."""
        return {"message": self.message, "status": self.status, **self.detail}


def _each_text(value: Any, rewritten: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return rewritten(value)
    if isinstance(value, dict):
        return {key: _each_text(item, rewritten) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(item, rewritten) for item in value]
    return value


def as_http(error: OneGAIError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The answer that tells it: status, headers, and the envelope of a failure."""
    content = {
        "status": 1,
        "servertime": time.time(),
        "result": error.message,
        "detail": error.detail,
    }
    try:
        body = to_json(content, bytes_mode="base64", inf_nan_mode="null", fallback=str)
    except PydanticSerializationError:  # there is text that is no Unicode
        body = json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "replace")
    headers = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="OneGAI", charset="UTF-8"'
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    headers |= {name: value.format_map(error.params) for name, value in error.headers.items()}
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return error.status, raw, body


_NOT_READ = {"Connection": "close"}
"""What is still being sent is not read, so the connection cannot be used again."""


class InputError(OneGAIError):
    """The request itself is wrong."""

    status = 400


class NotHttp(InputError):
    """What came is not HTTP/1.1, or nothing that can be answered."""

    code = "not_http"
    text = "the request cannot be read: {reason}"
    hint = "send HTTP/1.1; an address with https:// needs setup/https.sh first, else use http://"


class SlowRequest(InputError):
    """A head or a body was not sent in time."""

    code = "slow_request"
    status = 408
    text = "the rest of the request's {what} did not come within {seconds:.0f} s"
    hint = "send the request again, in one go"


class SlowReader(InputError):
    """Nobody took what a call has to give, and its turn and its service are for others, too."""

    code = "slow_reader"
    status = 408
    text = "nothing of what the call gave was read for {seconds:.0f} s"
    hint = "read it as it comes, or let it run as a job and take its result when it is done"


class HeadTooLarge(InputError):
    """The address and the headers of a request are over the server's limits."""

    code = "head_too_large"
    status = 431
    text = "the request's head has more than {limit}"
    hint = "send fewer or shorter headers, and what is long in the body"


class BadRequest(InputError):
    """A field of one of OneGAI's own routes is missing or wrong."""

    code = "bad_request"
    status = 422
    text = "{reason}"
    hint = "{do}"


class BadJson(InputError):
    """The body is not JSON."""

    code = "bad_json"
    text = "the request body is not valid JSON: {reason}"
    hint = 'send one JSON object, for example {{}} or {{"text": "hello"}}'


class BodyTooLarge(InputError):
    """The body is over ``max_json``."""

    code = "body_too_large"
    status = 413
    text = "the request body is larger than {limit_mib} MiB"
    hint = "send less, or raise max_json in config.json"
    headers = _NOT_READ


class BadMultipart(InputError):
    """The body is not the multipart/form-data that its header says."""

    code = "bad_multipart"
    text = "the multipart/form-data body cannot be read: {reason}"
    hint = (
        "let the client make the Content-Type header itself, for example curl -F audio=@voice.wav; "
        "a part of Content-Type application/json must be JSON"
    )


class FileTooLarge(InputError):
    """A file, or a whole upload, is over ``max_upload``."""

    code = "file_too_large"
    status = 413
    text = "{what} is larger than {limit_mib} MiB"
    hint = "send less, or raise max_upload in config.json"
    headers = _NOT_READ


class WrongContentType(InputError):
    """A body of another type than JSON (/api takes multipart/form-data, too)."""

    code = "wrong_content_type"
    status = 415
    text = "the body has content type {got}, and only {read} is read"
    hint = "send the header Content-Type: application/json"


class BadRange(InputError):
    """The Range header asks for what the file does not have, or cannot be read."""

    code = "bad_range"
    status = 416
    text = "the file has no such range: {range}"
    hint = "ask for bytes=FIRST-LAST within its {size} bytes, or send no Range header"
    headers: ClassVar[Mapping[str, str]] = {"Content-Range": "bytes */{size}"}


class BadArguments(InputError):
    """Arguments that a function's schema refuses; ``detail.errors`` names each field."""

    code = "bad_arguments"
    status = 422
    text = "{reason}"
    hint = "{do}"


class IfMatchMissing(InputError):
    """A file is replaced only by somebody who says which version of it was read."""

    code = "if_match_missing"
    status = 428
    text = "the header If-Match is missing"
    hint = "send the ETag that GET {path} gave with what you have changed; * overwrites any version"


class AccessError(OneGAIError):
    """The caller may not do this."""

    status = 403


class Unauthorized(AccessError):
    """No credentials, or wrong ones."""

    code = "unauthorized"
    status = 401
    text = "{reason}"
    hint = (
        "use username and password of config.json (BASIC), or the password as a Bearer token; "
        "for curl, in OneGAI's folder: -K data/curlrc"
    )
    cli_hint = (
        "username and password are in that server's config.json; ONEGAI_USERNAME and "
        "ONEGAI_PASSWORD in the environment win over those of this folder"
    )


class TooManyWrongPasswords(AccessError):
    """Several wrong passwords of the same address are being answered already."""

    code = "too_many_wrong_passwords"
    status = 429
    text = "wrong user name or password, like several others of this address right now"
    hint = "try again in {retry_after} s, with user name and password of config.json"


class ForbiddenOrigin(AccessError):
    """A web page of another site tried to use the browser's stored password."""

    code = "forbidden_origin"
    text = "a request from another site ({origin}) is refused"
    hint = "add the origin to cors_origins in config.json if the page is yours"


class RemoteEditOff(AccessError):
    """These keys can be changed in the file only, unless ``remote_edit`` is 1 in it."""

    code = "remote_edit_off"
    text = "this can not be changed over HTTP: {keys}"
    hint = "edit the file itself, or set remote_edit to 1 in config.json first; nothing was written"


class SignatureRefused(AccessError):
    """A signed link that has expired, or that nobody signed."""

    code = "signature_refused"
    text = "this signed link has expired, or is not one of this server's"
    hint = "ask for a new one (?files=signed), or use the link without its query and the password"


class PathRefused(AccessError):
    """A file argument names a path outside ``file_roots``."""

    code = "path_refused"
    text = "{field}: {path} is not below a folder of file_roots"
    hint = "add its folder to file_roots in config.json, or send the file"


class AddressRefused(AccessError):
    """A file argument's URL leads to this machine itself."""

    code = "address_refused"
    text = "{field}: {host} is {address}, an address of this machine, and is not fetched from"
    hint = "send the file itself, or name its path (see file_roots)"


class NotFoundError(OneGAIError):
    """There is no such thing."""

    status = 404


class UnknownRoute(NotFoundError):
    """No route of that path."""

    code = "unknown_route"
    text = "there is no route {path}"
    hint = "see /docs for the routes"


class MethodNotAllowed(NotFoundError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    text = "{path} does not answer {method}"
    hint = "use {allowed}"
    headers: ClassVar[Mapping[str, str]] = {"Allow": "{allowed}"}


class UnknownApp(NotFoundError):
    """No entry of that name."""

    code = "unknown_app"
    text = "there is no app {app!r}"
    hint = "{do}"


class UnknownFunction(NotFoundError):
    """The app has no such function."""

    code = "unknown_function"
    text = "{app} has no function {function!r}"
    hint = "{do}"


class UnknownJob(NotFoundError):
    """No job of that id (jobs are forgotten when the server stops)."""

    code = "unknown_job"
    text = "there is no job {job!r}"
    hint = "see GET /job for the jobs of this server's run"
    cli_hint = "see bash run.sh jobs"


class UnknownFile(NotFoundError):
    """No such file, or not any more."""

    code = "unknown_file"
    text = "there is no file {name!r}; the files that calls give are kept for an hour"
    hint = "call the function again"


class ConflictError(OneGAIError):
    """It exists, but not in a state that allows this."""

    status = 409


class BrokenEntry(ConflictError):
    """The app's entry in services.json is wrong."""

    code = "broken_entry"
    text = "the entry of {app} is not usable: {reason}"
    hint = "correct it in {file}"


class BrokenPlugin(ConflictError):
    """The app's func file does not load."""

    code = "broken_plugin"
    text = "{place}: {reason}"
    hint = "correct the file; it is loaded again at the next call"


class Inactive(ConflictError):
    """``active`` is 0."""

    code = "inactive"
    text = "{app} is switched off"
    hint = "switch it on: bash run.sh config apps.{app}.active 1"


class NoService(ConflictError):
    """The app has nothing to start."""

    code = "no_service"
    text = "{app} has no process to start or stop (no exec)"
    hint = "call its functions directly"


class KeyMissing(ConflictError):
    """The credentials of an app name a key that config.json does not have."""

    code = "key_missing"
    text = "{app} needs {key}, and config.json has none"
    hint = "bash run.sh config {key} - (and then the key itself, on a line of its own)"


class SettingMissing(ConflictError):
    """A function needs a setting of its app's own, and config.json does not have it."""

    code = "setting_missing"
    text = "{app} needs the setting apps.{app}.{key}, and config.json has none"
    hint = "{do}"


class NotInstalled(ConflictError):
    """The app is not installed."""

    code = "not_installed"
    text = "{app} is not installed"
    hint = 'POST /app/install {{"app": "{app}"}}'
    cli_hint = "bash run.sh install {app}"


class InstallBroken(ConflictError):
    """An install or uninstall was interrupted or failed."""

    code = "install_broken"
    text = "the last install or uninstall of {app} did not finish"
    hint = 'POST /app/install {{"app": "{app}"}} again: it starts clean; or /app/uninstall'
    cli_hint = "bash run.sh install {app} starts clean; or bash run.sh uninstall {app}"


class Installing(ConflictError):
    """The app is being installed, updated or uninstalled right now."""

    code = "installing"
    text = "{app} is being installed, updated or uninstalled"
    hint = "wait for that to end, then try again"


class NoInstallScript(ConflictError):
    """There is nothing to install the app with."""

    code = "no_install_script"
    text = "{app} has no install script (install/{app}.sh)"
    hint = "it needs none if it runs without one; else add the script"


class EntryGone(ConflictError):
    """The app's folder is there, but its entry, which says what of it is data, is gone."""

    code = "entry_gone"
    text = "apps/{app} is there, but the entry of {app} is gone, which said what of it is data"
    hint = 'POST /app/uninstall {{"app": "{app}", "purge": true}} removes all of it'
    cli_hint = "bash run.sh uninstall {app} --purge removes all of it"


class Busy(ConflictError):
    """An install, update or uninstall of the app runs, and this is not the same."""

    code = "busy"
    text = "the {kind} of {app} is under way (job {job})"
    hint = "wait for it, or end it with DELETE /job/{job}"
    cli_hint = "wait for it, or end it: bash run.sh jobs --cancel {job}"


class JobNotDone(ConflictError):
    """The job has no result yet."""

    code = "job_not_done"
    text = "the job {job} is {state}, so it has no result yet"
    hint = "wait for its end: GET /job/{job}/events"
    cli_hint = "wait for its end: bash run.sh jobs"


class NotRemovable(ConflictError):
    """The app's folder is a link, or another file system is mounted in it."""

    code = "not_removable"
    text = "{reason}"
    hint = "remove that yourself, then uninstall again"


class PortTaken(ConflictError):
    """Another program has the app's port: it listens there, or has a connection from it."""

    code = "port_taken"
    text = "port {port} of {app} is taken by {holder}"
    hint = "stop that program, or choose another port: bash run.sh config apps.{app}.port PORT"


class Stopped(ConflictError):
    """Somebody stopped the service while this request waited for it."""

    code = "stopped"
    text = "{app} was stopped while this request waited for it"
    hint = "call again to start it"


class ShuttingDown(ConflictError):
    """The server is on its way out."""

    code = "shutting_down"
    status = 503
    text = "OneGAI is shutting down"
    hint = "start it again with: bash run.sh"


class UnreadableFile(ConflictError):
    """A file of the user's does not parse, so it is neither shown nor overwritten."""

    code = "unreadable_file"
    text = "{file} can not be read: {reason}"
    hint = "correct it by hand; a server that runs goes on with its last good version"


class LostUpdate(ConflictError):
    """The file has changed since it was read."""

    code = "lost_update"
    status = 412
    text = "it has changed since you read it; nothing was written"
    hint = "GET {path} again, make your change anew, and send it with the new ETag"


class EditLocked(ConflictError):
    """Another process changes config.json or services.local.json, and takes long over it."""

    code = "edit_locked"
    status = 503
    text = "process {pid} is changing config.json or services.local.json; nothing was written"
    hint = "try again; if that process hangs, end it"


class NotEnoughMemory(ConflictError):
    """The declared need is more than what is free."""

    code = "not_enough_memory"
    status = 503
    text = "{app} needs {need_gb:.1f} GB of {kind}, and {free_gb:.1f} of {total_gb:.1f} GB are free"
    hint = (
        "stop another app or program, or correct what it needs: "
        "bash run.sh config apps.{app}.{key} GB"
    )


class NoGpu(ConflictError):
    """VRAM is declared and there is no GPU."""

    code = "no_gpu"
    status = 503
    text = "{app} needs {need_gb:.1f} GB of VRAM, and this machine has no NVIDIA GPU"
    hint = (
        "if {app} can run on the CPU, have it do so by its own options (exec, env), then: "
        "bash run.sh config apps.{app}.vram 0"
    )


class TooLarge(ConflictError):
    """The declared need is more than the machine, or the largest GPU, has."""

    code = "too_large"
    text = "{app} needs {need_gb:.1f} GB of {kind}, and this machine has {total_gb:.1f} GB"
    hint = (
        "correct it: bash run.sh config apps.{app}.{key} GB (0 is never checked); "
        "vram_headroom counts, too"
    )


class KeptInTheWay(ConflictError):
    """Only services with ``keep`` could make room."""

    code = "kept_in_the_way"
    text = "{app} cannot start: {what} is held by {kept}, which is never stopped for another app"
    hint = "stop {kept}, or let it be stopped for others: {do}"


class Deadlock(ConflictError):
    """A call waits for a service while it holds another, and there is room for only one."""

    code = "deadlock"
    text = "{app} cannot start while this call holds {held}: there is no room for both"
    hint = "let the function end its use of {held} before it asks {app}; or lower their vram"


class NoRoomInTime(ConflictError):
    """``queue_timeout`` is over, and those in the way did not end their calls."""

    code = "no_room_in_time"
    status = 503
    text = "{app} waited {seconds:g} s for room, which {busy} did not make"
    hint = (
        "try again later, stop what is in the way, or let it wait longer: "
        "bash run.sh config apps.{app}.queue_timeout SECONDS"
    )


class RestartWithoutRoom(ConflictError):
    """A restart after a crash, or an autostart, for which others would have to be stopped."""

    code = "restart_without_room"
    status = 503
    text = "there is no room for {app}, and no app is stopped for a restart or an autostart"
    hint = "call it, or start it, and they make room for it"


class TooManyConnections(ConflictError):
    """The server has as many connections as it takes, or as it takes of one address."""

    code = "too_many_connections"
    status = 503
    text = "there are too many connections to this server"
    hint = (
        "try again in {retry_after} s; close connections that are not used, and send the password "
        "with the first request"
    )


class QueueFull(ConflictError):
    """As many calls wait for the app as ``queue`` allows; ``Retry-After`` says when to try."""

    code = "queue_full"
    status = 429
    text = "{waiting} calls wait for {app} already"
    hint = "try again in {retry_after} s, or let more wait: bash run.sh config apps.{app}.queue N"


class QueueTimeout(ConflictError):
    """``queue_timeout`` is over, and the call's turn has not come."""

    code = "queue_timeout"
    status = 503
    text = "the call waited {seconds:g} s for its turn, as {app} runs {running} others"
    hint = (
        "try again later, or let it wait longer: bash run.sh config apps.{app}.queue_timeout "
        "SECONDS; concurrency is how many run at once"
    )


class AppError(OneGAIError):
    """The app's fault; ``src`` is its name."""

    status = 502

    def __init__(self, *, app: str, detail: Mapping[str, Any] | None = None, **params: Any) -> None:
        super().__init__(src=app, detail=detail, app=app, **params)


class FunctionFailed(AppError):
    """A function of func/{app}.py raised; the traceback is in the server's log only."""

    code = "function_failed"
    status = 500
    text = "{app}/{function} failed: {reason}"
    hint = "the traceback is in {log}"


class ResultTooLarge(AppError):
    """A call's result, or an app's answer that a function reads, is over ``max_result``."""

    code = "result_too_large"
    status = 500
    text = "{what} is larger than {limit_mib} MiB"
    hint = "{do}; or raise max_result in config.json"


class AppChanged(AppError):
    """An app answers a call of a function that it has told of as if it did not know it."""

    code = "app_changed"
    status = 409
    text = "{app} is not what it was: {reason}"
    hint = "what it can do now: bash run.sh functions {app}"


class RouteRefused(AppError):
    """A route of api/{app}.py raised HTTPException; the answer has its status."""

    code = "route_refused"
    status = 500
    text = "{reason}"
    hint = "api/{app}.py says so"

    def __init__(self, *, status: int = status, **params: Any) -> None:
        super().__init__(**params)
        self.status = status


class InstallFailed(AppError):
    """The install script ended with an error."""

    code = "install_failed"
    status = 500
    text = "the install of {app} failed: {reason}"
    hint = "the whole log is {log}; correct the cause and install again, it starts clean"


class UpdateFailed(AppError):
    """The install script ended with an error while it updated the app."""

    code = "update_failed"
    status = 500
    text = "the update of {app} failed: {reason}"
    hint = "the app is as it was before; the whole log is {log}"


class UninstallFailed(AppError):
    """Some file of the app's could not be removed."""

    code = "uninstall_failed"
    status = 500
    text = "the uninstall of {app} failed: {reason}"
    hint = "correct the cause and uninstall again"


class ExecNotFound(AppError):
    """The program named by ``exec`` does not exist or cannot be run."""

    code = "exec_not_found"
    status = 500
    text = "{app} cannot be started: {reason}"
    hint = (
        "install the app again, or correct exec or cwd; "
        "bash run.sh config apps.{app}.exec says in which file it is"
    )


class ExitedEarly(AppError):
    """The process ended before it was ready."""

    code = "exited_early"
    text = "{app} ended before it was ready ({how})"
    hint = "its last lines are in detail.log, the whole log at /service/{app}/logs"
    cli_hint = "its whole log is shown by: bash run.sh logs {app}"


class ReleaseFailed(AppError):
    """The app did not free its VRAM when it was asked to; it is stopped instead."""

    code = "release_failed"
    text = "{app} did not release its memory: {reason}"
    hint = "correct release; bash run.sh config apps.{app}.release says in which file it is"


class NeverReady(AppError):
    """The process runs and does not get ready."""

    code = "never_ready"
    status = 504
    text = "{app} was not ready in time: {reason}"
    hint = "see /service/{app}/logs; start_timeout and ready of {app} can be set"
    cli_hint = (
        "see bash run.sh logs {app}; more time: bash run.sh config apps.{app}.start_timeout SECONDS"
    )


class Died(AppError):
    """The process ended by itself or by a forced stop; or it closed its port."""

    code = "died"
    text = "{app} has ended ({how})"
    hint = "the next call starts it again; its last lines are in detail.log"
    cli_hint = "the next call starts it again; its log is shown by: bash run.sh logs {app}"


class Unreachable(AppError):
    """The service did not answer on its port."""

    code = "unreachable"
    text = "{app} does not answer: {reason}"
    hint = "{do}"


class ErrorAnswer(AppError):
    """The app answered a function's request with an HTTP error."""

    code = "error_answer"
    text = "{app} answered {upstream_status}: {reason}"
    hint = "the app's own answer is in detail.answer"
    cli_hint = "correct the input, or see its log: bash run.sh logs {app}"

    def __init__(
        self, *, upstream_status: int, place: str = "", example: str = "", **params: Any
    ) -> None:
        """``place``: where its credentials can be corrected. ``example``: what they are to be."""
        super().__init__(upstream_status=upstream_status, place=place, example=example, **params)
        self.upstream_status = upstream_status
        # An input that the app refuses is no use to send again.
        self.status = 422 if upstream_status in (400, 413, 415, 422) else 502

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self._special or super().advice

    @property
    def detail(self) -> dict[str, Any]:
        """As of all; what is not known is left out."""
        found = super().detail
        if self._special:
            del found["cli_hint"]
        return {key: value for key, value in found.items() if value is not None}

    @property
    def _special(self) -> str:
        """The hint for those that are not about the input."""
        app, place, example = self.src, self.params["place"], self.params["example"]
        if self.upstream_status in (401, 403) and place:
            return f"it is not OneGAI's own password: {app} refuses {place}, correct that"
        if self.upstream_status in (401, 403):
            shown = f", for example {example}" if example else ""
            return f"{app} wants credentials: set apps.{app}.credentials in config.json{shown}"
        if self.upstream_status in (429, 503, 529):
            when = f"in {self.retry_after} s" if self.retry_after is not None else "later"
            return f"{app} itself says that it is too much, or too early: try again {when}"
        return ""

    def with_example(self, example: str) -> Self:
        """The same, with what ``credentials`` are to be, as JSON."""
        return type(self)(detail=self.extra, **{**self.params, "example": example})


class CallTimeout(AppError):
    """A call or one of its requests took longer than allowed."""

    code = "call_timeout"
    status = 504
    text = "{app} took longer than {seconds:g} s"
    hint = (
        "ask for less at once, or give it longer: "
        "bash run.sh config apps.{app}.call_timeout SECONDS"
    )


class ConfigError(OneGAIError):
    """A setting that the server cannot start with."""

    code = "config_error"
    text = "{where}: {reason}"
    hint = "{do}"


class HomeLocked(OneGAIError):
    """Another OneGAI process serves this home."""

    code = "home_locked"
    status = 409
    text = "OneGAI already runs for this folder: {holder} (pid {pid})"
    hint = "use that one, or stop it with Ctrl-C in its terminal"


class NotWritten(OneGAIError):
    """A file of the user's could not be replaced."""

    code = "not_written"
    text = "{file} could not be written: {reason}"
    hint = "it is as it was; make room on the disk, or see who may write to its folder"


class Relayed(OneGAIError):
    """What another OneGAI answered, or a job's record says: its own code, status and detail."""

    code = "relayed"
    status = 502
    text = "{message}"
    hint = "{advice}"

    def __init__(self, *, status: int, **params: Any) -> None:
        super().__init__(**params)
        self.status = status
        self.code = str(self.extra.get("code") or type(self).code)

    @classmethod
    def of(cls, status: int, message: str, detail: Mapping[str, Any]) -> Self:
        """From an error answer's HTTP status, ``result`` and ``detail``."""
        return cls(
            status=status,
            message=message,
            advice=str(detail.get("hint", "")),
            src=str(detail.get("src", "onegai")),
            detail=detail,
        )


class ServerUnreachable(OneGAIError):
    """Nothing answers at a server's address, or not in time."""

    code = "server_unreachable"
    status = 502
    text = "{url}: {reason}"
    hint = "is it running? The one of this folder is started with bash run.sh"


class NoOneGAI(OneGAIError):
    """What answers at an address is no OneGAI."""

    code = "no_onegai"
    status = 502
    text = "{url}: what answers there is no OneGAI (HTTP {http_status})"
    hint = "correct the address"


class DiskFull(OneGAIError):
    """A file of a call cannot be written."""

    code = "disk_full"
    status = 507
    text = "there is no room left on the disk of {folder}"
    hint = "free some space; large apps are shown by: bash run.sh du"


class SdkMisuse(OneGAIError):
    """A service handle is used in a way that cannot work."""

    code = "sdk_misuse"
    text = "{reason}"
    hint = "{do}"


class InternalError(OneGAIError):
    """Our own fault."""

    code = "internal_error"
    text = "OneGAI itself failed: {reason}"
    hint = "the traceback is in the server's log; please report it"


def in_words(error: BaseException) -> str:
    """An error of other people's code: its class, and what it says, if it can say anything."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its __str__ is the user's code
        return type(error).__name__


def reason(error: BaseException) -> str:
    """Why nothing answered: in the system's words, if they are in the chain of causes."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, TimeoutError):
            return "it does not answer in time"
        if isinstance(link, OSError) and link.errno:
            return os.strerror(link.errno) if link.errno > 0 else str(link.strerror)
        link = link.__cause__ or link.__context__
    return str(error.args[-1] if error.args else error) or type(error).__name__
