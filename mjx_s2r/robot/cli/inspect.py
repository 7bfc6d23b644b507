"""The verb inspect: a policy's contract, a flight, or the table of causes."""

import argparse
import json
from pathlib import Path

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.cli.parser import OK, Parser, Verb
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.log.records import FAMILY
from mjx_s2r.robot.safety import CAUSES
from mjx_s2r.robot.table import markdown_table, plain_table

WORD = "causes"
HEAD = ("cause", "meaning", "unit", "limit", "answer")


def cause_rows() -> list[tuple[str, ...]]:
    """Returns one row for each cause of an intervention, as `HEAD` says."""
    return [(c.code, c.meaning, c.unit, c.limit, c.answer) for c in CAUSES]


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help=f"a policy, a flight log, the folder of a run, or the word {WORD!r}: what each cause "
        "of an intervention means",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--markdown", action="store_true", help="the causes, for a page")
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page of a flight, with plots")


def _do(args: argparse.Namespace) -> int:
    """Inspects."""
    path: Path = args.path
    if str(path) == WORD:
        rows = cause_rows()
        table = markdown_table(HEAD, rows) if args.markdown else plain_table([HEAD, *rows], "")
        say(table)
    elif path.is_dir():
        logs = sorted(path.glob("*.log"))
        if not logs:
            raise ContractError(f"{path} holds no flight logs; name the folder of one run")
        if args.html is not None and len(logs) > 1:
            raise ContractError(f"{path} holds {len(logs)} logs; --html makes a page of one")
        for log in logs:
            _flight(args, log)
    elif _is_log(path):
        _flight(args, path)
    else:
        _policy(args, path)
    return OK


def _policy(args: argparse.Namespace, path: Path) -> None:
    """Prints a policy.

    Raises:
        ContractError: it is none.
    """
    from mjx_s2r.robot.policy_description import describe_policy

    if args.html is not None:
        raise ContractError(f"{path} is no flight log; --html makes a page of one")
    found = describe_policy(path)
    say([json.dumps(found.to_json(), indent=1) if args.json else found.text()])


def _is_log(path: Path) -> bool:
    """Returns whether a file begins as flight logs do."""
    try:
        with open(path, "rb") as file:
            return file.read(len(FAMILY)) == FAMILY
    except OSError:
        return False


def _flight(args: argparse.Namespace, path: Path) -> None:
    """Prints a flight, or writes its page."""
    from mjx_s2r.robot.log import read
    from mjx_s2r.robot.log.facts import inspect_log
    from mjx_s2r.robot.log.page import write_log_page

    flight = read(path)
    facts = inspect_log(flight)
    say([facts.to_json() if args.json else f"{path}\n{facts.describe()}"])
    if args.html is not None:
        write_log_page(flight, args.html)
        say([f"page          {args.html}"])


VERB = Verb(
    _add,
    _do,
    (
        "inspect policy.onnx",
        "inspect flights/arm/2026-03-01-1 --html page.html",
        "inspect causes",
    ),
)
