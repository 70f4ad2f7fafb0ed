"""The host machine code is what its comments say: they are assembled here."""

import io
import re
import tokenize
from pathlib import Path

import keystone
import pytest

from ntsim.hw.engine import hostcode

SOURCE = Path(hostcode.__file__).read_text()
WORDS = {"event": 0x1111 << 48, "start": 0x2222 << 48, "read": 0x3333 << 48, "write": 0x4444 << 48}


def comments(name: str) -> list[str]:
    """Those inside of the parentheses behind `name =`."""
    found, depth, at = [], 0, SOURCE.index(f"\n{name} = ") + 1
    for token in tokenize.generate_tokens(io.StringIO(SOURCE[at:]).readline):
        if token.type == tokenize.COMMENT:
            found.append(token.string[1:].split(" -- ")[0])
        depth += (token.string == "(") - (token.string == ")")
        if token.string == ")" and not depth:
            break
    return found


def assembled(name: str) -> str:
    text = "; ".join(comments(name)).format_map({k: str(v) for k, v in WORDS.items()})
    text = re.sub(r"\b[A-Z][A-Z_]+\b", lambda word: str(getattr(hostcode, word[0])), text)
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64).asm(text)
    return bytes(code).hex(" ")


@pytest.mark.parametrize(
    "name",
    ["_STORE_AND_STOP", "_ROUND_TRIP", "_BATCH_TRIP", "_ENTER_BLOCK", "_TRANSLATED", "_START"],
)
def test_the_bytes_are_the_assembly_beside_them(name: str) -> None:
    code = getattr(hostcode, name)
    if isinstance(code, str):
        words = {key: value.to_bytes(8, "little").hex() for key, value in WORDS.items()}
        code = bytes.fromhex(code.format(**words))
    assert code.hex(" ") == assembled(name)
