"""What a person sees in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def stack_table(state: dict[str, Any]) -> Table:
    """What runs where, one row a process."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for column in ("what", "where", "state", "pid", "log"):
        table.add_column(column, overflow="fold")
    for server in state.get("servers", []):
        if server["kind"] == "external":
            table.add_row(server["name"], "as set in the environment", "external", "", "")
        else:
            table.add_row(
                server["name"],
                f"127.0.0.1:{server['port']}",
                _mark(server["ready"], "running" if server["ready"] else "down"),
                str(server["pid"] or ""),
                server["log"],
            )
    for service in state.get("services", []):
        word = service["state"] + (f": {service['reason']}" if service["state"] in ("refused", "broken") else "")
        row = (service["name"], service["address"] or "", _mark(service["ready"], word), str(service["pid"] or ""))
        table.add_row(*row, service["log"])
    return table


def show_stack(console: Console, state: dict[str, Any], *, seconds: float | None = None) -> None:
    """The one screen: the table, then the page's address."""
    console.print(stack_table(state))
    if state.get("ready"):
        took = f" in {seconds:.1f} s" if seconds is not None else ""
        console.print(f"\n[bold green]ready[/]{took} – the page: [bold]{state.get('page')}[/]")
    elif state.get("supervisor"):
        console.print("\n[bold yellow]not ready yet[/] – `moodtape doctor` says what is missing")


def _mark(good: bool, word: str) -> str:
    return f"[green]{word}[/]" if good else f"[yellow]{word}[/]"
