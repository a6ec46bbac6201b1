"""The command `crownest-witness`: makes a witness, tells it which logs to follow, and runs it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from evidence.canonical import FormatError
from evidence.policy import POLICY_BYTES_MAX, parse_policy
from witness.serving import WitnessServer
from witness.state import State, StateError

PORT = 8788

DESCRIPTION = """\
A witness keeps an eye on the logs of servers that you do not run. Each time a log grows it asks the
witness, and the witness cosigns only when the log has kept all that it showed before. Proofs that
carry the cosignature cannot come from a history that was rewritten later.

It needs a machine that the log's operator has no hand in, and a key that stays there.
"""

EPILOG = """\
one time:
  crownest-witness init --state /var/lib/witness --name witness.example.org/alice \\
      --url https://witness.example.org
      makes the key and prints a line that begins with "witness". Give that line to the operators of
      the logs, and to everybody who shall rely on you: it goes into their policy file.

for each log that you follow:
  crownest-witness trust --state /var/lib/witness trust.policy
      trust.policy is that server's policy (crownest policy > trust.policy). Compare it with what
      others hold: from now on whoever has its log key can ask for cosignatures.

always:
  crownest-witness serve --state /var/lib/witness --host 127.0.0.1 --port 8788
      answers the logs. Put a reverse proxy with TLS before it, or a private network.

Back up the folder without its checkpoints/: a witness that is set back to an old checkpoint would
cosign a second history. After a loss, make a new witness with a new name.
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 refused with a reason, 2 not understood."""
    arguments = _parser().parse_args(argv)
    try:
        match arguments.command:
            case "init":
                _init(arguments.state, arguments.name, arguments.url)
            case "trust":
                _trust(State(arguments.state), arguments.policy)
            case _:
                _serve(State(arguments.state), arguments.host, arguments.port)
    except (StateError, FormatError, OSError) as error:
        sys.exit(f"crownest-witness: {error}")
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crownest-witness",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="init | trust | serve")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", type=Path, required=True, metavar="DIR", help="the witness's own folder")
    init = commands.add_parser("init", parents=[shared], help="make a key, and print the line for policies")
    init.add_argument("--name", required=True, help="who you are, such as witness.example.org/alice")
    init.add_argument("--url", default="", help="where logs will reach you; only printed")
    trust = commands.add_parser("trust", parents=[shared], help="follow the logs that a policy file names")
    trust.add_argument("policy", type=Path, metavar="POLICY", help="a policy file; its log lines count")
    serve = commands.add_parser("serve", parents=[shared], help="answer the logs")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=_port, default=PORT, help="port (default: %(default)s; 0: any)")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return int(text)


def _init(folder: Path, name: str, url: str) -> None:
    state = State.make(folder, name)
    print(f"witness {name} {state.key} {url}".rstrip())
    _say(f"the key is {folder / 'key.pem'}; next: crownest-witness trust --state {folder} trust.policy")


def _trust(state: State, file: Path) -> None:
    with file.open("rb") as source:
        policy = parse_policy(source.read(POLICY_BYTES_MAX + 1))
    new = state.trust(policy)
    for key in new:
        print(f"log {key}")
    _say(f"{len(new)} new of {len(policy.logs)} log keys; a running witness follows them from now on")


def _serve(state: State, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT; requests that are being answered then are answered."""
    stops = {signal.SIGTERM, signal.SIGINT}
    # Blocked before any thread starts, so that each inherits it and only `sigwait` sees the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with WitnessServer(state, host, port, now_s=lambda: int(time.time())) as server:
        _say(f"{state.key.name} answers at {server.url}/")
        if not state.trusted().logs:
            _say(f"it follows no log yet: crownest-witness trust --state {state.folder} trust.policy")
        answering = threading.Thread(target=server.serve_forever, name="witness")
        answering.start()
        signal.sigwait(stops)
        _say("stopping")
        server.shutdown()
        answering.join()


def _say(text: str) -> None:
    sys.stderr.write(f"crownest-witness: {text}\n")
    sys.stderr.flush()
