"""docs/troubleshooting.md quotes messages that the code has."""

from __future__ import annotations

import ast
import re

import pytest
from support.builders import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"```{ \.text \.message }\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def messages() -> set[str]:
    """Every text of the code, its values written as ``…``."""
    found = set()
    for file in (ROOT / "defectdb").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.add(re.sub("…+", "…", "".join(map(str, parts))))
    return found


def test_ten_messages_have_cause_and_cure() -> None:
    assert len(QUOTES) == 10
    assert PAGE.count("**Cause.**") == PAGE.count("**Cure.**") == 10


@pytest.mark.parametrize("quote", QUOTES)
def test_the_code_has_the_message_word_for_word(quote: str, messages: set[str]) -> None:
    assert quote in messages
